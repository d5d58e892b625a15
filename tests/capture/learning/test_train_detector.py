"""`handpipe train-detector`: from a fitted session to a file that is better, or to a sentence."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from altered_stores import overwrite_array
from drawn_session import draw, drawn_session
from hand_scenes import dome, interaction
from toy_stage import Quiet

from handpipe.capture.learning import agreement as agreement_module
from handpipe.capture.learning import run as run_module
from handpipe.capture.learning.agreement import as_detected, relabelled
from handpipe.capture.learning.crops import Crop
from handpipe.capture.learning.crops import store as store_crop
from handpipe.capture.learning.detector_file import KnownDetector, load_detector
from handpipe.capture.learning.judge import Judged, bias_and_spread
from handpipe.capture.learning.network import HandNetwork
from handpipe.capture.learning.run import Renderer, _refuse_if_worse, rendered_crops, state_file, train_detector
from handpipe.capture.learning.sources import open_source, training_crops
from handpipe.capture.settings import CaptureSettings, DetectorTrainingSettings
from handpipe.cli import main
from handpipe.core.errors import ModelError, SessionError
from handpipe.core.geometry import rotation_from_axis_angle
from handpipe.core.hands import HANDS
from handpipe.core.storage.store import Store
from handpipe.fitting.kinematics import Landmarks, anatomical_frames, pose_landmarks
from handpipe.hand.model import HandModel
from handpipe.triangulation.assignment import agreed_joints_m

SETTINGS = DetectorTrainingSettings(steps=2, batch=2, crops=16, renders=0, device="cpu")
FLAGS = ["--steps", "2", "--batch", "2", "--crops", "16", "--renders", "0", "--device", "cpu"]


@pytest.fixture(scope="module")
def session(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("drawn") / "session"
    drawn_session(root, noise_px=15.0)
    return root


def train(session: Path, out: Path, settings: DetectorTrainingSettings = SETTINGS, **kwargs) -> dict:
    given = {"agree": agreed_joints_m, **kwargs}
    return train_detector([session], settings, CaptureSettings(), None, out, Quiet(), **given)


def test_the_file_says_what_was_learnt_from_and_how_it_was_judged(session, tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "BETTER", np.inf)
    record = train(session, tmp_path / "rig.safetensors")
    known = load_detector(tmp_path / "rig.safetensors")
    assert known.record["judged"] == json.loads(json.dumps(record["judged"]))
    assert 0 < record["judged"]["all"]["before"] < record["judged"]["all"]["after"], "two steps teach nothing"
    assert record["sessions"][0]["image_sizes"] == [[640, 480]]
    assert set(record["judged"]["joints_after"]) == set(record["judged"]["joints_before"])
    assert not state_file(tmp_path / "rig.safetensors").exists()


def test_it_refuses_to_replace_a_detector_that_is_better(session, tmp_path, capsys):
    out = tmp_path / "rig.safetensors"
    assert main(["train-detector", str(session), "--out", str(out), *FLAGS]) == 2
    sentence = capsys.readouterr().err.strip().splitlines()[-1]
    assert "No file was written" in sentence
    assert not out.exists()


def test_an_interrupted_training_ends_with_the_same_numbers(session, tmp_path, monkeypatch):
    settings = DetectorTrainingSettings(renders=0, steps=4, batch=2, crops=16, save_every=2, device="cpu")
    monkeypatch.setattr(run_module, "BETTER", np.inf)
    train(session, tmp_path / "whole.safetensors", settings)

    class Interrupted(Quiet):
        def advance(self, amount):
            super().advance(amount)
            if self.total == settings.steps and self.done == 3:
                raise KeyboardInterrupt

    out = tmp_path / "rig.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train_detector([session], settings, CaptureSettings(), None, out, Interrupted(), agree=agreed_joints_m)
    assert state_file(out).exists()
    progress = Quiet()
    train_detector([session], settings, CaptureSettings(), None, out, progress, agree=agreed_joints_m)
    assert any("goes on after step 2" in text for text in progress.said)
    a, b = (load_detector(path).network.state_dict() for path in (tmp_path / "whole.safetensors", out))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_another_training_is_not_gone_on_with(session, tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "BETTER", 0.0)
    out = tmp_path / "rig.safetensors"
    settings = DetectorTrainingSettings(renders=0, steps=2, batch=2, crops=16, device="cpu")
    with pytest.raises(ModelError, match="No file was written"):
        train(session, out, settings)
    other = DetectorTrainingSettings(renders=0, steps=2, batch=2, crops=16, device="cpu", seed=1)
    with pytest.raises(ModelError, match="other sessions or settings"):
        train(session, out, other)
    with pytest.raises(ModelError, match="No file was written"):
        train(session, out, other, force=True)


def test_held_out_images_are_not_learnt_from(session):
    source = open_source(session, CaptureSettings(), None, SETTINGS)
    assert source.held_out.any()
    assert not source.held_out.all()
    crops = training_crops([source], DetectorTrainingSettings(crops=1000), Quiet())
    hands = [crop for crop in crops if np.isfinite(crop.own_px).all()]
    assert len(hands) == (source.labels.trusted & ~source.held_out[..., None]).sum()
    thinned = training_crops([source], DetectorTrainingSettings(crops=16), Quiet())
    assert sum(np.isfinite(crop.own_px).all() for crop in thinned) == 16


def copied(session: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(session, tmp_path / "copy"))


def no_fit(root: Path) -> None:
    Store(str(root / "session.zarr")).remove("mano")


def no_store(root: Path) -> None:
    shutil.rmtree(root / "session.zarr")


def other_size(root: Path) -> None:
    store = Store(str(root / "session.zarr"))
    size = store.read("cameras", "size")
    _rewrite(store, "cameras", "size", 2 * size)


def other_cameras(root: Path) -> None:
    store = Store(str(root / "session.zarr"))
    T = store.read("cameras", "T_cam_world")
    _rewrite(store, "cameras", "T_cam_world", np.roll(T, 1, axis=0))


def stale(root: Path) -> None:
    store = Store(str(root / "session.zarr"))
    store.set_attrs("mano", fingerprint={"settings": {}, "inputs": {"keypoints": "0" * 64}, "code": 1})


def no_consensus(root: Path) -> None:
    store = Store(str(root / "session.zarr"))
    _rewrite(store, "mano", "valid", np.zeros_like(store.read("mano", "valid")))


def no_video(root: Path) -> None:
    (root / "videos" / "view1.mp4").unlink()


def _rewrite(store: Store, group: str, name: str, value: np.ndarray) -> None:
    overwrite_array(store.url, f"{group}/{name}", value)


@pytest.mark.parametrize(
    ("harm", "expected"),
    [
        (no_fit, "expected a fitted session"),
        (no_store, "expected a fitted session"),
        (other_size, "as they were calibrated"),
        (other_cameras, "the calibration is of another rig"),
        (stale, "computed with other `keypoints`"),
        (no_consensus, "frames in which the views agree"),
        (no_video, "expected clips of the views"),
    ],
)
def test_sessions_with_nothing_to_learn_from(session, tmp_path, capsys, harm, expected):
    root = copied(session, tmp_path)
    harm(root)
    out = tmp_path / "rig.safetensors"
    assert main(["train-detector", str(root), "--out", str(out), *FLAGS]) == 2
    sentence = capsys.readouterr().err.strip().splitlines()[-1]
    assert expected in sentence
    assert not out.exists()
    assert not state_file(out).exists()


@pytest.mark.parametrize(
    ("scene", "expected"),
    [({"views": 2}, "at least 3 calibrated views"), ({"frames": 8}, "expected at least 20 frames")],
)
def test_too_few_views_or_frames(tmp_path, capsys, scene, expected):
    drawn_session(tmp_path / "small", **scene)
    assert main(["train-detector", str(tmp_path / "small"), "--out", str(tmp_path / "x.safetensors"), *FLAGS]) == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--out", "rig.pt"], "ends in .safetensors"),
        (["--out", "there.safetensors"], "expected a new file"),
        (["--start", "none.safetensors"], "no such file"),
        (["--start", "there.safetensors"], "cannot be read"),
    ],
)
def test_wrong_files(session, tmp_path, monkeypatch, capsys, flags, expected):
    monkeypatch.chdir(tmp_path)
    Path("there.safetensors").write_text("mine")
    assert main(["train-detector", str(session), *flags, *FLAGS]) == 2
    assert expected in capsys.readouterr().err
    assert Path("there.safetensors").read_text() == "mine"


def test_no_session_at_all(tmp_path, capsys):
    out = tmp_path / "x.safetensors"
    assert main(["train-detector", "--out", str(out), "--renders", "0"]) == 2
    assert "a fitted session or rendered crops" in capsys.readouterr().err
    assert main(["train-detector", "--out", str(out), *FLAGS, "--renders", "4"]) == 0
    assert load_detector(out).record["judged"] == {}


def test_rendered_crops_come_first_to_last_whatever_their_number(session):
    calls: list[int] = []

    def render(seed: int, moment: int) -> list[Crop]:
        calls.append(moment)
        return [Crop(np.zeros((2, 2, 3), np.uint8), np.zeros((21, 2)), np.zeros((21, 2)), True)] * 3

    settings = DetectorTrainingSettings(renders=7)
    assert len(rendered_crops(Renderer(["a", "b"], render), settings, Quiet())) == 7
    assert calls == [0, 1, 2]


def test_renders_of_another_hand_model_are_not_mixed_in(session, tmp_path):
    settings = replace(SETTINGS, renders=2)
    with pytest.raises(SessionError, match="--hand-model"):
        train(session, tmp_path / "x.safetensors", settings, renderer=Renderer(["a", "b"], lambda *_: []))


def models_of(session: Path) -> list[str]:
    return list(Store(str(session / "session.zarr")).attrs("mano")["hand_model"])


def rendered_hands(seed: int, moment: int) -> list[Crop]:
    """Two drawn hands in place of renders, which take longer."""
    hands = dome(1).project(interaction(1, seed=moment))[0, 0]
    return [store_crop(draw(hands), hands[side], hands[1 - side], side == 1) for side in (0, 1)]


def test_a_session_of_mediapipe_is_labelled_again_beside_renders(session, tmp_path, monkeypatch):
    """By a detector that has only seen renders; the labels of a trained detector are taken as they are."""
    monkeypatch.setattr(run_module, "BETTER", np.inf)
    asked: list[str] = []
    before = run_module.relabelled

    def relabelled(source, known, agree, progress):
        asked.append(source.name)
        return before(source, known, agree, progress)

    monkeypatch.setattr(run_module, "relabelled", relabelled)
    settings, renderer = replace(SETTINGS, renders=4), Renderer(models_of(session), rendered_hands)
    train(session, tmp_path / "a.safetensors", settings, renderer=renderer)
    train(session, tmp_path / "b.safetensors", settings, renderer=renderer, start=tmp_path / "a.safetensors")
    assert len(asked) == 2
    train(session, tmp_path / "c.safetensors", SETTINGS, renderer=renderer)
    root = copied(session, tmp_path)
    known = {"settings": {"detector": "trained.safetensors"}, "inputs": {}, "code": 1}
    Store(str(root / "session.zarr")).set_attrs("detections", fingerprint=known)
    train(root, tmp_path / "d.safetensors", settings, renderer=renderer)
    assert len(asked) == 2, "neither without renders, nor for a detector whose joints are the model's"


def test_without_renders_a_session_is_learnt_with_the_joints_of_its_detector(session, tmp_path, monkeypatch):
    """They are where the fit's landmarks are, which only the solver knows otherwise."""
    root = copied(session, tmp_path)
    stored = Store(str(root / "session.zarr"))
    rng = np.random.default_rng(0)
    offsets_m = rng.normal(0, 0.005, (2, 21, 3)).astype(np.float32)
    _rewrite(stored, "shape", "offsets", offsets_m)
    frames = len(stored.read("mano", "valid"))
    for name, width in (("global_orient", 3), ("hand_pose", 45)):
        _rewrite(stored, "mano", name, rng.normal(0, 0.5, (frames, 2, width)).astype(np.float32))
    source = open_source(root, CaptureSettings(), None, SETTINGS)
    found, wanted_m = as_detected(source).labels, stored.read("mano", "joints").astype(float)
    orient, pose = (stored.read("mano", name).astype(float) for name in ("global_orient", "hand_pose"))
    for hand, side in enumerate(HANDS):
        model = HandModel.procedural(side)
        bones = Landmarks(model, anatomical_frames(model), np.zeros(10), offsets_m[hand].astype(float))
        angles = np.einsum("jab,fjb->fja", bones.frames, pose[:, hand].reshape(-1, 15, 3))
        R_root, nowhere = rotation_from_axis_angle(orient[:, hand]), np.zeros((frames, 3))
        there, bare = (pose_landmarks(each, R_root, angles, nowhere).points_m for each in (bones, bones.bare))
        wanted_m[:, hand] += there - bare
    trusted = source.labels.trusted
    assert trusted.any()
    np.testing.assert_array_equal(found.trusted, trusted)
    np.testing.assert_allclose(found.points_px[trusted], source.cameras.project(wanted_m)[trusted], atol=0.01)
    asked: list[str] = []
    monkeypatch.setattr(run_module, "BETTER", np.inf)
    monkeypatch.setattr(run_module, "as_detected", lambda source: asked.append(source.name) or as_detected(source))
    train(root, tmp_path / "rig.safetensors")
    assert asked == [str(root)]


def test_new_labels_are_what_the_views_agree_on(session, monkeypatch):
    """A detector that sees the truth, moved by five pixels in one view: the labels are the truth, in all views."""
    source = open_source(session, CaptureSettings(), None, SETTINGS)
    true_px = source.labels.points_px
    chosen = source.labels.trusted & ~source.held_out[..., None]

    def looks(source, known, chosen, start_px, passes, progress):
        seen = np.where(chosen[..., None, None], true_px, np.nan)
        scale = np.full(seen.shape[:-1], 2.0)
        view = int(np.flatnonzero(chosen.any((1, 2)))[0])
        seen[view] += 5.0
        scale[view] = 20.0
        return seen, scale

    monkeypatch.setattr(agreement_module, "look", looks)
    again = relabelled(source, KnownDetector(HandNetwork(), {}), agreed_joints_m, Quiet())
    assert again is not None
    assert (again.labels.trusted & ~source.held_out[..., None]).sum() > 0.95 * chosen.sum()
    learnt = again.labels.trusted & ~source.held_out[..., None]
    assert np.abs(again.labels.points_px - true_px)[learnt].max() < 0.5
    np.testing.assert_array_equal(
        again.labels.trusted & source.held_out[..., None], source.labels.trusted & source.held_out[..., None]
    )


def test_a_detector_whose_bones_vary_more_gives_no_labels(session, tmp_path, monkeypatch):
    """The renders do not resemble the session's hands: the session is learnt as it is, without them."""
    source = open_source(session, CaptureSettings(), None, SETTINGS)
    rng = np.random.default_rng(0)

    def looks(source, known, chosen, start_px, passes, progress):
        seen = np.where(chosen[..., None, None], start_px, np.nan)
        return seen + 40 * rng.normal(size=seen.shape), np.full(seen.shape[:-1], 40.0)

    monkeypatch.setattr(agreement_module, "look", looks)
    assert relabelled(source, KnownDetector(HandNetwork(), {}), agreed_joints_m, Quiet()) is None
    monkeypatch.setattr(run_module, "BETTER", np.inf)
    settings, renderer = replace(SETTINGS, renders=400), Renderer(models_of(session), rendered_hands)
    record = train(session, tmp_path / "rig.safetensors", settings, renderer=renderer)
    assert record["crops"] < 100, "no renders beside the session's crops"


def test_an_interrupted_training_with_renders_labels_as_it_did_before(session, tmp_path, monkeypatch):
    settings = replace(SETTINGS, steps=4, renders=4, save_every=1)
    renderer = Renderer(models_of(session), rendered_hands)
    monkeypatch.setattr(run_module, "BETTER", np.inf)
    train(session, tmp_path / "whole.safetensors", settings, renderer=renderer)
    for stop_at in (2, 3, 4):  # In the first part; at its end; in the second, where the labels were made before.

        class Interrupted(Quiet):
            trained = 0

            def advance(self, amount, stop_at=stop_at):
                super().advance(amount)
                self.trained += self.total == settings.steps // 2
                if self.trained == stop_at and self.total == settings.steps // 2:
                    raise KeyboardInterrupt

        out = tmp_path / f"{stop_at}.safetensors"
        given = {"agree": agreed_joints_m, "renderer": renderer}
        with pytest.raises(KeyboardInterrupt):
            train_detector([session], settings, CaptureSettings(), None, out, Interrupted(), **given)
        assert state_file(out).exists()
        train(session, out, settings, renderer=renderer)
        a, b = (load_detector(path).network.state_dict() for path in (tmp_path / "whole.safetensors", out))
        assert all(torch.equal(a[name], b[name]) for name in a), stop_at


def test_bias_and_spread_are_told_apart():
    rng = np.random.default_rng(0)
    true = np.cumsum(rng.normal(0, 10, (400, 21, 2)), axis=1)
    true[:, 0], true[:, 9] = 0, [0, -80]
    shifted = true + [4.0, 0]
    bias, spread = bias_and_spread(shifted, true, np.ones(400, bool))
    np.testing.assert_allclose(spread, 0, atol=0.02)
    assert (bias > 0).all()
    noisy = true + rng.normal(0, 4, true.shape)
    bias, spread = bias_and_spread(noisy, true, np.ones(400, bool))
    assert bias.max() < 0.3 * spread.min()
    mirrored = true * [-1, 1]
    again, _ = bias_and_spread(mirrored - [4.0, 0], mirrored, np.zeros(400, bool))
    np.testing.assert_allclose(again, bias_and_spread(shifted, true, np.ones(400, bool))[0], atol=1e-9)


def judged(before_off: float, after_off: float) -> Judged:
    agreed = np.cumsum(np.ones((5, 21, 2)), axis=1)
    flags = (np.ones(5, bool), np.zeros(5, bool))
    return Judged(agreed + before_off, agreed, agreed + 3 + after_off, agreed + 3, *flags)


def test_each_detector_is_held_against_what_its_own_views_agree_on():
    """The joints of the two differ by three pixels, which counts for neither."""
    _refuse_if_worse(Path("x"), judged(3.0, 2.9))
    with pytest.raises(ModelError, match="No file was written"):
        _refuse_if_worse(Path("x"), judged(3.0, 2.99))
    errors = judged(3.0, 2.0).errors()
    assert errors["after"] == pytest.approx(errors["before"] * 2 / 3)
    assert judged(3.0, 2.0).take(np.array([0, 1])).errors() == errors


def test_a_detector_that_sees_one_point_is_not_better():
    good = judged(3.0, 2.0)
    point = good.after_agreed_px.mean(1, keepdims=True)
    collapsed = replace(good, after_px=point + 0.5 + 0.01 * good.after_px, after_agreed_px=point + 0.01 * good.after_px)
    assert collapsed.errors()["after"] > good.errors()["before"]


def test_hands_that_the_views_do_not_agree_on_count_against_a_detector():
    good = judged(3.0, 2.0)
    lost = replace(good, after_agreed_px=np.full_like(good.after_agreed_px, np.nan))
    assert lost.errors() == good.errors() | {"after": 1.0}
    with pytest.raises(ModelError, match=r"its error is 100\.00 %"):
        _refuse_if_worse(Path("x"), lost)
    some = np.arange(len(good.right)) == 0
    agreed = np.where(some[:, None, None], np.nan, good.after_agreed_px)
    told = run_module.figures(replace(good, after_agreed_px=agreed))
    assert told["joints_after"] == run_module.figures(good.take(~some))["joints_after"]
    agreed[:, 3] = np.nan
    joints = list(run_module.figures(replace(good, after_agreed_px=agreed))["joints_after"].values())
    assert (joints[3]["bias"], joints[4]["bias"]) == (None, told["joints_after"]["thumb_tip"]["bias"])
