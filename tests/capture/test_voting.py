"""Several detectors at once: all candidates are stored, the views decide, and one hand stays one hand."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from clips import write
from hand_scenes import FPS, dome, interaction
from hypothesis import given, settings
from hypothesis.strategies import integers

from handpipe.capture.crop_detection import CropDetector
from handpipe.capture.detector import Candidates, NearDetector
from handpipe.capture.installed import ENTRY_POINTS, make_detector
from handpipe.capture.settings import DetectionSettings
from handpipe.capture.voting import count_hands, vote_of
from handpipe.cli import main
from handpipe.core.storage.store import Store
from handpipe.triangulation.assignment import assign, triangulate_assigned
from handpipe.triangulation.grouping import group_hands

LINES = '''
import numpy as np
from handpipe.capture.detector import Candidates

class Left:
    """A hand on a line from (10, 10); it says how uncertain it is."""

    gives_sigma = True

    def __init__(self, options):
        assert not options.detectors

    def detect(self, image_bgr):
        line = np.arange(21, dtype=np.float32)
        points = np.stack([10 + line, 10 + line], axis=-1)[None]
        return Candidates(points, np.full(1, 0.8, np.float32), np.ones(1, np.float32), np.full((1, 21), 2, np.float32))

class Again:
    """The same hand 1 pixel beside, and one farther down; it can be told where hands are expected."""

    def __init__(self, options):
        assert options.detector == "again"

    def detect(self, image_bgr):
        line = np.arange(21, dtype=np.float32)
        points = np.stack([np.stack([11 + line, 10 + line + down], axis=-1) for down in (0, 25)])
        return Candidates(points, np.full(2, 0.9, np.float32), np.ones(2, np.float32))

    def detect_near(self, image_bgr, hands_px, right):
        return [self.detect(image_bgr).take([0]) for _ in hands_px]
'''


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Two detectors that a package brings, and a session of two views."""
    info = tmp_path / "site" / "lines-1.0.dist-info"
    info.mkdir(parents=True)
    (info.parent / "lines.py").write_text(LINES)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lines\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{ENTRY_POINTS}]\nleft = lines:Left\nagain = lines:Again\n")
    monkeypatch.syspath_prepend(info.parent)
    make_detector.cache_clear()
    root = tmp_path / "session"
    (root / "videos").mkdir(parents=True)
    for view in ("c1", "c2"):
        write(root / "videos" / f"{view}.mp4", frames=3)
    yield root
    make_detector.cache_clear()
    sys.modules.pop("lines", None)


def detect(capsys, root, *flags):
    status = main(["detect", str(root), "--json", "--workers", "0", *flags])
    out, err = capsys.readouterr()
    return status, json.loads(out) if out else {}, " ".join(err.split())


@pytest.mark.parametrize("chunk", ["1", "3"])
def test_the_candidates_of_all_are_stored(installed, capsys, chunk):
    flags = ["--detection.detector", "unused", "--detection.detectors", "left", "again", "--chunk-frames", chunk]
    status, figures, err = detect(capsys, installed, *flags)
    assert status == 0, err
    store = Store(str(installed / "session.zarr"))
    assert store.read("detections", "points").shape == (2, 3, 4, 21, 2)
    np.testing.assert_allclose(store.read("detections", "score")[0, 0], [0.8, 0.9, 0.9, np.nan])
    sigma = store.read("detections", "sigma")
    assert (sigma[:, :, 0] == 2).all(), "of the detector that says it"
    assert np.isnan(sigma[:, :, 1:]).all()
    np.testing.assert_array_equal(store.read("detections", "found_by")[1, 2], [0, 1, 1, np.nan])
    # Three candidates, but two hands.
    assert figures["hands_found"] == [0.0, 0.0, 1.0]
    fingerprint = store.fingerprint("detections")
    assert fingerprint is not None
    assert fingerprint["settings"]["detector"] == "left+again"
    # Others are computed again; and one alone has the fingerprint that it always had.
    assert detect(capsys, installed, "--detection.detector", "again")[1]["computed"] == ["detections"]
    fingerprint = store.fingerprint("detections")
    assert fingerprint is not None
    assert "detectors" not in fingerprint["settings"]


WRONG = {
    "one twice": (["--detection.detectors", "left", "left"], "`detectors` names one twice (left, left); remove one"),
    "too many": (["--detection.detectors", "left", "again", "--detection.candidates", "5"], "at most 8 candidates"),
    "unknown": (["--detection.detectors", "left", "right"], "'right' is registered by no package"),
    "a file": (["--detection.detectors", "left", "none.safetensors"], "but there is no such file"),
}


@pytest.mark.parametrize(("flags", "said"), WRONG.values(), ids=WRONG.keys())
def test_what_cannot_vote_is_said(installed, capsys, flags, said):
    status, _, err = detect(capsys, installed, *flags)
    assert status == 2
    assert said in err
    assert not (installed / "session.zarr" / "detections").exists()


def one_hand(at_px, right=1.0, sigma=None):
    points = np.full((1, 21, 2), at_px, np.float32) + np.arange(21, dtype=np.float32)[:, None]
    return Candidates(points, np.ones(1, np.float32), np.full(1, right, np.float32), sigma)


class Fixed:
    """Always finds the same."""

    def __init__(self, found):
        self.found = found

    def detect(self, image_bgr):
        return self.found


class FixedNear(Fixed):
    """Also where hands are expected."""

    def detect_near(self, image_bgr, hands_px, right):
        return [self.found for _ in hands_px]


def test_only_those_that_can_be_told_look_where_hands_are_expected():
    image, expected = np.zeros((8, 8, 3), np.uint8), np.zeros((2, 21, 2))
    one, other = Fixed(one_hand(5)), FixedNear(one_hand(50))
    assert not isinstance(vote_of([one, one], False), NearDetector)
    vote = vote_of([one, other], False)
    assert isinstance(vote, NearDetector)
    near = vote.detect_near(image, expected, np.array([False, True]))
    assert [found.points_px[:, 0, 0].tolist() for found in near] == [[50.0], [50.0]]
    assert vote.detect(image).points_px[:, 0, 0].tolist() == [5.0, 50.0]


def test_a_second_look_by_those_that_do_not_say_how_uncertain_they_are(installed):
    options = DetectionSettings(detectors=("left", "again"))
    look = CropDetector(options, 2.0, 64)
    assert look.gives_sigma
    assert look.version == "lines 1.0"
    found = look(np.zeros((80, 80, 3), np.uint8), np.tile(one_hand(12).points_px, (2, 1, 1)), 1)
    assert found.sigma_px is not None
    assert np.isnan(found.sigma_px).all()
    assert len(found.score) == 1


def test_without_any_uncertainty_there_is_none():
    assert Candidates.joined([one_hand(1), one_hand(2)]).sigma_px is None
    told = Candidates.joined([one_hand(1), one_hand(2, sigma=np.full((1, 21), 3, np.float32))]).sigma_px
    assert told is not None
    assert np.isnan(told[0]).all()
    assert (told[1] == 3).all()


@given(seed=integers(0, 2**32 - 1), detectors=integers(1, 3))
@settings(max_examples=50, deadline=None)
def test_a_hand_counts_once_however_many_find_it(seed, detectors):
    rng = np.random.default_rng(seed)
    hands = 300 * np.arange(2)[:, None, None] + rng.uniform(0, 100, (21, 2))
    # Each finds each hand or not, in any order, and a joint is missing at times.
    found = hands[[rng.permutation(2) for _ in range(detectors)]] + rng.normal(0, 2, (detectors, 2, 21, 2))
    found[rng.random((detectors, 2)) < 0.3] = np.nan
    found[rng.random((detectors, 2, 21)) < 0.2] = np.nan
    there = np.isfinite(found).any((-1, -2))
    shown = {round(float(np.nanmean(hand[:, 0]) // 200)) for hand in found[there]}
    found_by = np.where(there, np.arange(detectors)[:, None], np.nan)
    assert count_hands(found.reshape(1, -1, 21, 2), found_by.reshape(1, -1)).tolist() == [len(shown)]


def test_hands_of_one_detector_that_cover_each_other_are_two():
    crossed = np.stack([one_hand(50).points_px[0], one_hand(52).points_px[0]])
    assert count_hands(crossed, np.zeros(2)) == 2
    assert count_hands(np.concatenate([crossed, crossed]), np.array([0, 0, 1, 1])) == 2


@given(seed=integers(0, 2**32 - 1))
@settings(max_examples=5, deadline=None)
def test_the_views_decide(seed):
    """Each detector is wrong in half of the views: with both, all views see the hands, and no hand is there twice."""
    rng = np.random.default_rng(seed)
    cameras, truth = dome(8), interaction(6, seed % 1000)
    exact = cameras.project(truth)
    # Off by a tenth of a hand and more, by another amount in each image.
    off_px = [np.where(np.arange(8) % 2 == half, 20.0, 0.0)[:, None, None, None, None] for half in (0, 1)]
    each = [exact + rng.normal(0, 1, exact.shape) + off * rng.normal(size=(*exact.shape[:3], 1, 2)) for off in off_px]
    score, right = np.full((8, 6, 2), 0.9), np.tile([0.1, 0.9], (8, 6, 1))
    by = np.tile([0, 0, 1, 1], (8, 6, 1))

    def triangulated(points, detectors):
        known = points, np.tile(score, detectors), np.tile(right, detectors)
        chosen = assign(cameras, *known, FPS, by[:, :, : points.shape[2]])
        found = triangulate_assigned(cameras, *known[:2], chosen).points_m
        return chosen, 1e3 * float(np.linalg.norm(found - truth, axis=-1).mean())

    both = np.concatenate(each, axis=2)
    chosen, error_mm = triangulated(both, 2)
    assert (chosen >= 0).all()
    taken_px = np.linalg.norm(np.take_along_axis(both, chosen[..., None, None], 2) - exact, axis=-1).mean(-1)
    other_px = np.linalg.norm(np.take_along_axis(both, (chosen[..., None, None] + 2) % 4, 2) - exact, axis=-1).mean(-1)
    assert (taken_px < other_px).mean() > 0.9
    assert error_mm < 1.5
    groups = group_hands(cameras, both, np.tile(score, 2), np.tile(right, 2), by)
    assert (np.isfinite(groups.points_m).any((-1, -2)).sum(-1) == 2).all()
    # One alone is worse, or loses a hand.
    assert not any(triangulated(alone, 1)[1] <= error_mm for alone in each)
