"""The file of a detector, and the detector of a file."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch
from drawn_session import draw
from hand_scenes import dome, interaction

from handpipe.capture import crop_detection
from handpipe.capture.detector import Candidates
from handpipe.capture.installed import (
    CheckedNearDetector,
    ChosenDetectors,
    chosen_detectors,
    find_detector,
    make_detector,
)
from handpipe.capture.learning.detector import (
    AWAY,
    BEST_SCALE,
    UNSURE,
    Refined,
    RigDetector,
    candidates,
    refine,
    surer,
)
from handpipe.capture.learning.detector_file import CONVENTIONS, KEY, KnownDetector, load_detector, save_detector
from handpipe.capture.learning.network import HandNetwork
from handpipe.capture.settings import DetectionSettings
from handpipe.core.errors import ConfigError, ModelError


@pytest.fixture
def network() -> HandNetwork:
    torch.manual_seed(0)
    return HandNetwork().eval()


def test_a_file_holds_what_was_saved(tmp_path, network):
    path = tmp_path / "rig.safetensors"
    save_detector(path, network.state_dict(), {"sessions": [{"name": "a"}]})
    known = load_detector(path)
    assert known.record["sessions"] == [{"name": "a"}]
    for name, value in network.state_dict().items():
        assert torch.equal(known.network.state_dict()[name], value)
    image, hands = draw(dome(1).project(interaction(1))[0, 0]), dome(1).project(interaction(1))[0, 0]
    before, after = (refine(each, image, hands, np.array([0.0, 1.0])) for each in (KnownDetector(network, {}), known))
    np.testing.assert_allclose(before.points_px, after.points_px, atol=1e-3)


def saved(path, tensors, header=None, key=KEY):
    record = {**CONVENTIONS, "handpipe_version": "0"} if header is None else header
    path.write_bytes(safetensors.torch.save(tensors, {key: json.dumps(record)}))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("missing", "there is no such file"),
        ("folder", "a folder"),
        ("empty", "cannot be read"),
        ("pickle", "cannot be read"),
        ("truncated", "cannot be read"),
        ("other", "holds other tensors"),
        ("no object", "cannot be read"),
        ("version", "another version"),
        ("layer missing", "does not fit"),
        ("layer more", "does not fit"),
        ("shape", "does not fit"),
        ("type", "does not fit"),
        ("nan", "finite"),
        ("large", "at most"),
    ],
)
def test_other_files_are_refused_in_one_sentence(tmp_path, network, kind, expected):
    path, tensors = tmp_path / "rig.safetensors", {k: v.clone() for k, v in network.state_dict().items()}
    name = "heat.weight"
    if kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    elif kind == "pickle":
        torch.save(tensors, path)
    elif kind == "truncated":
        saved(path, tensors)
        path.write_bytes(path.read_bytes()[:-10])
    elif kind == "other":
        saved(path, tensors, key="handpipe_evaluator")
    elif kind == "no object":
        saved(path, tensors, header=[1])
    elif kind == "version":
        saved(path, tensors, header={**CONVENTIONS, "version": 99})
    elif kind == "large":
        with path.open("wb") as file:
            file.truncate(1 << 30)
    elif kind != "missing":
        changed = {
            "layer missing": {k: v for k, v in tensors.items() if k != name},
            "layer more": {**tensors, "x": torch.zeros(1)},
            "shape": {**tensors, name: torch.zeros(3)},
            "type": {**tensors, name: tensors[name].half()},
            "nan": {**tensors, name: tensors[name] * torch.nan},
        }[kind]
        saved(path, changed)
    with pytest.raises(ModelError, match=expected) as error:
        load_detector(path)
    assert str(path) in str(error.value)


def test_a_path_in_the_settings_is_a_detector(tmp_path, network):
    path = tmp_path / "rig.safetensors"
    save_detector(path, network.state_dict(), {})
    found = find_detector(str(path))
    assert found.make is RigDetector
    assert "mediapipe" in found.version
    assert found.model(DetectionSettings(detector=str(path))) == path
    elsewhere = ChosenDetectors([], [replace(found, name="other/place.safetensors")])
    assert chosen_detectors(DetectionSettings(detector=str(path))).kind == elsewhere.kind != str(path)
    voting = DetectionSettings(detectors=("mediapipe", str(path)), model="x.task")
    assert chosen_detectors(voting).kind == f"mediapipe+{elsewhere.kind}"
    assert [each.model for each in voting.each] == ["x.task", None], "a trained detector is a model file itself"
    with pytest.raises(ConfigError, match=r"detection\.model"):
        found.model(DetectionSettings(detector=str(path), model="x.task"))
    with pytest.raises(ModelError, match="no such file"):
        find_detector(str(tmp_path / "none.safetensors"))


def refined(points: np.ndarray, scale: float | np.ndarray = BEST_SCALE, right: float | np.ndarray = 1.0) -> Refined:
    n = len(points)
    scales = np.broadcast_to(np.reshape(scale, (-1, 1)), (n, 21)).copy()
    return Refined(points, scales, 100 * scales, np.broadcast_to(right, n).astype(float), np.full(n, 0.9))


def test_sure_hands_come_first_and_none_comes_twice():
    hands = dome(1).project(interaction(1))[0, 0]
    three = np.stack([hands[0], hands[1], hands[1] + 1])
    found = candidates(refined(three, np.array([0.03, 0.05, 0.02]), np.array([0.0, 1, 1])), (480, 640))
    np.testing.assert_allclose(found.points_px, three[[2, 0]], rtol=1e-6)
    np.testing.assert_allclose(found.score, [0.9 * 0.36, 0.9 * 0.16], rtol=1e-6)
    assert found.right.tolist() == [1, 0]
    assert len(candidates(refined(three + 5000), (480, 640)).score) == 0
    assert len(candidates(refined(three[:0]), (480, 640)).score) == 0


def test_an_unsure_hand_far_from_the_landmarks_is_as_mediapipe_says():
    hand = dome(1).project(interaction(1))[0, 0, :1]
    size = np.ptp(hand[0], axis=0).max()
    for share, away, lost in ((1.1, 1.1, True), (0.9, 1.1, False), (1.1, 0.9, False)):
        said = refined(hand, UNSURE * share * size / 100, 0.0)
        at = (hand + [AWAY * away * size, 0]).astype(np.float32)
        found = surer(said, Candidates(at, np.full(1, 0.7), np.ones(1, np.float32)))
        np.testing.assert_allclose(found.points_px, at if lost else hand, rtol=1e-5)
        np.testing.assert_allclose(found.sigma_px, np.nan if lost else said.sigma_px)
        assert (found.right.tolist(), found.present.tolist()) == (([1], [0.7]) if lost else ([0], [0.9]))
        assert found.score == pytest.approx(0.7 if lost else 0.9 * (BEST_SCALE / said.scale[0, 0]) ** 2)
    nothing = surer(refined(hand[:0]), Candidates(hand[:0].astype(np.float32), np.ones(0), np.ones(0)))
    assert nothing.points_px.shape == (0, 21, 2)


def test_the_second_look_tells_the_detector_where_and_which(monkeypatch):
    asked = []

    class Near:
        def detect(self, image_bgr):
            raise AssertionError("it was told where")

        def detect_near(self, image_bgr, hands_px, right):
            asked.append(right.tolist())
            return [Candidates(hands_px.astype(np.float32), np.ones(1, np.float32), np.ones(1, np.float32))]

    hands = dome(1).project(interaction(1))[0, 0]
    monkeypatch.setattr(crop_detection, "make_detector", lambda options: Near())
    look = crop_detection.CropDetector(DetectionSettings(), 2.25, 256)
    assert not look.gives_sigma
    found = look(draw(hands), hands, 1)
    np.testing.assert_allclose(found.points_px[0], hands[1], atol=1e-3)
    assert (found.score.tolist(), asked) == ([1.0], [[True]])


def test_the_detector_of_a_file_gives_valid_candidates(tmp_path, network):
    """With MediaPipe's regions in an image without hands, and where a hand is expected."""
    path = tmp_path / "rig.safetensors"
    with torch.no_grad():
        network.whole.bias[-1] = 9.0  # Sure that there is a hand, whatever it sees.
    save_detector(path, network.state_dict(), {})
    detector = make_detector(DetectionSettings(detector=str(path)))
    assert isinstance(detector, CheckedNearDetector)
    assert len(detector.detect(np.full((96, 128, 3), 127, np.uint8)).score) == 0
    hands = dome(1).project(interaction(1))[0, 0]
    found, again = (detector.detect_near(draw(hands), hands, np.array([False, True])) for _ in range(2))
    assert [hand.points_px.shape for hand in found] == [(1, 21, 2)] * 2
    for hand, twice in zip(found, again, strict=True):
        np.testing.assert_array_equal(hand.points_px, twice.points_px)
    for side in (0, 1):  # Both at once are what each is by itself, but for rounding.
        (alone,) = detector.detect_near(draw(hands), hands[[side]], np.array([side == 1]))
        np.testing.assert_allclose(found[side].points_px, alone.points_px, atol=1e-2)
