"""MediaPipe's landmark network on given regions: how a region lies, and that it finds what MediaPipe finds."""

from __future__ import annotations

import zipfile
from functools import cache

import numpy as np
import pytest
from golden_recording import filmed
from hypothesis import given, settings
from hypothesis import strategies as st
from moving_hands import hands_joints, rig

from handpipe.capture.detector import MediaPipeDetector, NearDetector
from handpipe.capture.mediapipe.bundle import LANDMARKS, PALMS, resolve
from handpipe.capture.mediapipe.landmarks import LandmarkNetwork, landmark_region
from handpipe.capture.settings import DetectionSettings
from handpipe.capture.video import read_frames
from handpipe.core.errors import ModelError


@cache
def _hand_px() -> np.ndarray:
    return rig(1).project(hands_joints(1))[0, 0, 0]


def hand_px() -> np.ndarray:
    return _hand_px().copy()


@settings(max_examples=30, deadline=None, derandomize=True)
@given(angle=st.floats(-3.14, 3.14), zoom=st.floats(0.3, 5))
def test_a_hand_lies_in_its_region_the_same_however_it_is_turned(angle, zoom):
    px = hand_px()
    turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = px @ turn.T + [100.0, -50.0]
    (A, B) = (landmark_region(hand, 224) for hand in (px, moved))
    np.testing.assert_allclose(moved @ B[:, :2].T + B[:, 2], px @ A[:, :2].T + A[:, 2], atol=1e-6)
    in_region = px @ A[:, :2].T + A[:, 2]
    assert in_region[9, 1] < in_region[0, 1], "fingers up"
    assert np.linalg.det(B[:, :2]) > 0, "a mirrored hand would be the other one"


def test_unknown_joints_are_left_out():
    px = hand_px()
    px[[0, 8, 20]] = np.nan
    M = landmark_region(px, 224)
    assert np.isfinite(M).all()
    np.testing.assert_allclose(M[:, :2], M[0, 0] * np.eye(2), atol=1e-12, err_msg="without its wrist it is not turned")


@pytest.fixture(scope="module")
def detector() -> MediaPipeDetector:
    return MediaPipeDetector(DetectionSettings())


def test_it_finds_the_hands_that_mediapipe_finds_and_none_elsewhere(detector):
    assert isinstance(detector, NearDetector)
    session, seen = filmed(), 0
    for clip in session.clips:
        image = next(read_frames(clip, [0]))
        found = detector.detect(image)
        for hand, right in zip(found.points_px, found.right, strict=True):
            (again,) = detector.detect_near(image, hand[None], np.array([True]))
            assert again.points_px.shape == (1, 21, 2)
            size = np.ptp(hand, axis=0).max()
            assert np.median(np.linalg.norm(again.points_px[0] - hand, axis=-1)) < 0.06 * size
            assert abs(float(again.right[0]) - float(right)) < 0.4
            (twice,) = detector.detect_near(image, hand[None], np.array([False]))
            np.testing.assert_array_equal(again.points_px, twice.points_px)
            seen += 1
    assert seen >= 3
    (nothing,) = detector.detect_near(np.full((240, 320, 3), 127, np.uint8), hand_px()[None], np.array([True]))
    assert len(nothing.score) == 0


def test_a_bundle_with_another_network_is_refused(tmp_path):
    path = tmp_path / "other.task"
    with zipfile.ZipFile(resolve()) as bundle, zipfile.ZipFile(path, "w") as other:
        other.writestr(LANDMARKS, bundle.read(PALMS))
    with pytest.raises(ModelError, match=r"expected a landmark network with one square image .* Remove `detection"):
        LandmarkNetwork(path)
    with zipfile.ZipFile(path, "w") as other:
        other.writestr("something", b"else")
    with pytest.raises(ModelError, match=r"other.task: expected MediaPipe's hand landmark network in "):
        LandmarkNetwork(path)
