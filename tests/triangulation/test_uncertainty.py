"""What a detector says of its own error weighs in the triangulation."""

from __future__ import annotations

import numpy as np
import pytest
from hand_scenes import detect, dome, error_m, interaction
from stored_detections import triangulated

from handpipe.core.cameras import Cameras
from handpipe.core.storage.candidates import further_columns, read_candidates
from handpipe.triangulation.assignment import agreed_joints_m, triangulate_assigned
from handpipe.triangulation.candidates import joint_weight
from handpipe.triangulation.robust import NOISE_PX

VIEWS, FRAMES = 8, 6


def noisy(seed: int = 0) -> tuple[Cameras, np.ndarray, np.ndarray, np.ndarray]:
    """Detections of known hands, half of the joints of each view much worse than the others, and their true errors."""
    rng = np.random.default_rng(seed)
    cameras, motion = dome(VIEWS), interaction(FRAMES, seed)
    true_px = cameras.project(motion)
    sigma = np.where(rng.random(true_px.shape[:-1]) < 0.5, 2.0, 12.0)
    seen = true_px + sigma[..., None] * rng.normal(size=true_px.shape)
    return cameras, motion, seen, sigma


def test_the_weight_is_the_inverse_square_and_at_most_one():
    sigma = np.array([0.1, NOISE_PX, 2 * NOISE_PX, 10 * NOISE_PX, np.nan])
    np.testing.assert_allclose(joint_weight(sigma), [1, 1, 1 / 4, 1 / 100, 1])


@pytest.mark.parametrize("seed", range(3))
def test_joints_that_are_known_to_be_bad_count_less(seed):
    cameras, motion, seen, sigma = noisy(seed)
    assignment = np.broadcast_to(np.arange(2), seen.shape[:3])
    score = np.ones(seen.shape[:3])
    alike = triangulate_assigned(cameras, seen, score, assignment)
    told = triangulate_assigned(cameras, seen, score, assignment, sigma)
    assert error_m(told.points_m, motion).mean() < 0.75 * error_m(alike.points_m, motion).mean()
    np.testing.assert_array_equal(told.points_m, agreed_joints_m(cameras, seen, sigma))
    np.testing.assert_array_equal(alike.points_m, agreed_joints_m(cameras, seen))


def test_where_the_detector_does_not_say_it_the_score_weighs():
    cameras, _, seen, sigma = noisy()
    assignment = np.broadcast_to(np.arange(2), seen.shape[:3])
    score = np.random.default_rng(1).uniform(0.2, 1, seen.shape[:3])
    unknown = triangulate_assigned(cameras, seen, score, assignment, np.full_like(sigma, np.nan))
    np.testing.assert_array_equal(unknown.points_m, triangulate_assigned(cameras, seen, score, assignment).points_m)


def test_a_joint_of_which_no_view_says_it_stays_as_it_is():
    cameras, _, seen, sigma = noisy()
    sigma[..., 3] = np.nan
    some, none = agreed_joints_m(cameras, seen, sigma), agreed_joints_m(cameras, seen)
    np.testing.assert_array_equal(some[..., 3, :], none[..., 3, :])
    assert (some[..., 4, :] != none[..., 4, :]).any()


@pytest.mark.parametrize("chunk", [4, 50])
def test_it_is_read_from_the_store_and_absent_where_no_detector_said_it(tmp_path, chunk):
    cameras, motion = dome(VIEWS), interaction(FRAMES)
    points, score, right, _ = detect(cameras, motion)
    rng = np.random.default_rng(0)
    sigma = np.where(rng.random(points.shape[:-1]) < 0.5, 2.0, 12.0).astype(np.float32)
    points = points + sigma[..., None] * rng.normal(size=points.shape)
    folders = {"told": tmp_path / "told", "alike": tmp_path / "alike"}
    error = {}
    for name, folder in folders.items():
        folder.mkdir()
        said = sigma if name == "told" else None
        store = triangulated(folder, cameras, points, score, right, chunk, said)
        found = read_candidates(store, slice(None), False)["sigma"]
        np.testing.assert_array_equal(found, sigma if name == "told" else np.full_like(sigma, np.nan))
        assert bool(further_columns(store)) == (name == "told")
        error[name] = np.nanmean(error_m(store.read("keypoints", "points").astype(float), motion))
    assert error["told"] < 0.8 * error["alike"]
