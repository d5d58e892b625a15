"""Detections through the stage: what is there to find is found, and what is not is left open, without an error."""

from __future__ import annotations

import numpy as np
import pytest
from hand_scenes import detect, dome, error_m, interaction
from stored_detections import triangulated

from handpipe.core.cameras import Cameras
from handpipe.core.hands import LEFT, RIGHT
from handpipe.core.storage.store import Store

FRAMES = 12


def nothing_found(store: Store) -> bool:
    keypoints = {name: store.read("keypoints", name) for name in ("points", "sigma", "assignment", "inlier")}
    return bool(
        np.isnan(keypoints["points"]).all()
        and np.isnan(keypoints["sigma"]).all()
        and (keypoints["assignment"] == -1).all()
        and not keypoints["inlier"].any()
        and store.attrs("keypoints")["reprojection_px"] is None
    )


def test_a_single_view_decides_nothing(tmp_path):
    cameras = dome(1)
    assert nothing_found(triangulated(tmp_path, cameras, *detect(cameras, interaction(FRAMES))[:3]))


def test_no_candidates_at_all(tmp_path):
    cameras = dome(5)
    points, score, right, _ = detect(cameras, interaction(FRAMES), seen=0.0)
    assert nothing_found(triangulated(tmp_path, cameras, points, np.full_like(score, np.nan), right))


def test_no_confidence_at_all(tmp_path):
    cameras = dome(5)
    points, score, right, _ = detect(cameras, interaction(FRAMES))
    assert nothing_found(triangulated(tmp_path, cameras, points, np.zeros_like(score), right))


def test_no_camera_is_calibrated(tmp_path):
    cameras = dome(4)
    lost = Cameras(cameras.names, cameras.K, cameras.distortion, np.full((4, 4, 4), np.nan), cameras.size_px)
    assert nothing_found(triangulated(tmp_path, lost, *detect(cameras, interaction(FRAMES))[:3]))


def test_cameras_that_see_different_places_decide_nothing(tmp_path):
    """Each of four cameras, 5 m apart and facing the same way, sees hands of its own: no two share a place."""
    cameras = dome(4)
    T = np.tile(np.eye(4), (4, 1, 1))
    T[:, 0, 3] = -5.0 * np.arange(4)
    apart = Cameras(cameras.names, cameras.K, cameras.distortion, T, cameras.size_px)
    found = []
    for view in range(4):
        hands = interaction(FRAMES, seed=view) + [5.0 * view, 0.0, 0.8]
        found.append(detect(apart.subset([view]), hands, seed=view)[:3])
    points, score, right = (np.concatenate(parts) for parts in zip(*found, strict=True))
    assert nothing_found(triangulated(tmp_path, apart, points, score, right))


@pytest.mark.parametrize("side", [LEFT, RIGHT])
def test_a_recording_of_one_hand_is_a_recording(tmp_path, side):
    cameras, motion = dome(8), interaction(FRAMES)
    points, score, right, shown = detect(cameras, motion, seen=0.8, wrong_labels=0.5)
    points[shown != side], score[shown != side], right[shown != side] = np.nan, np.nan, np.nan
    store = triangulated(tmp_path, cameras, points, score, right)
    keypoints = store.read("keypoints", "points")
    assert (error_m(keypoints[:, side], motion[:, side]) < 0.01).all()
    assert np.isnan(keypoints[:, 1 - side]).all()
    assert (store.read("keypoints", "assignment")[..., 1 - side] == -1).all()


def test_chunks_do_not_change_a_bit(tmp_path):
    """A hand is lost for three frames across two borders of chunks, and in one frame all is lost."""
    cameras, motion = dome(6), interaction(FRAMES, reach_m=0.15)
    points, score, right, shown = detect(cameras, motion, seen=0.7, wrong_labels=0.5, mixed=0.1)
    gone = (shown == LEFT) & np.isin(np.arange(FRAMES), [3, 4, 5])[:, None]
    points[gone] = np.nan
    points[:, 8] = np.nan
    one = triangulated(tmp_path, cameras, points, score, right, chunk_frames=50)
    many = triangulated(tmp_path, cameras, points, score, right, chunk_frames=4)
    for group, names in {
        "groups": ("member", "points", "votes"),
        "tracks": ("slot", "points", "predicted"),
        "keypoints": ("points", "sigma", "assignment", "inlier"),
    }.items():
        for name in names:
            assert one.read(group, name).tobytes() == many.read(group, name).tobytes(), f"{group}/{name}"
    assert np.isfinite(one.read("keypoints", "points")).all((1, 2, 3)).sum() >= 6
