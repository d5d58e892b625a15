"""What is fitted beyond points: detections in every view, hands that cannot overlap, fast motion, gaps, windows."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moving_hands import hands_joints, rig

from handpipe.core.cameras import Cameras
from handpipe.core.engine import Engine
from handpipe.core.hands import HANDS
from handpipe.core.settings import EngineSettings
from handpipe.core.storage.schema import CAMERAS, DETECTIONS, KEYPOINTS, camera_blocks, group_spec
from handpipe.core.storage.store import Store
from handpipe.fitting import stage
from handpipe.fitting.contact import Spheres, StayBeside, fill, planes
from handpipe.fitting.gauss_newton import best_seen
from handpipe.fitting.kinematics import Landmarks, anatomical_frames
from handpipe.fitting.reprojection import ROBUST_SCALE, reprojection_term, view_sigma_px
from handpipe.fitting.residuals import Smoothness
from handpipe.fitting.settings import FittingSettings
from handpipe.fitting.solver import carried_sd_m, fit_hand, fit_hands
from handpipe.hand.model import HandModel
from handpipe.hand.procedural_motion import pose_of_curl

JOINTS = FittingSettings(landmark_offsets=False)


def numeric(f, x: np.ndarray, eps: float) -> np.ndarray:
    out = np.empty_like(x)
    for index in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[index] = eps
        out[index] = (f(x + step) - f(x - step)) / (2 * eps)
    return out


# ---- detections --------------------------------------------------------------------------------------------------


def term_of(cameras: Cameras, points: np.ndarray, detected: np.ndarray, sigma_px: float = 2.0):
    return reprojection_term(cameras, detected, np.full(len(cameras), sigma_px), points, 0.001)


def test_reprojection_gradient_is_the_derivative():
    cameras, points = rig(), hands_joints(2)[:, 0]
    rng = np.random.default_rng(0)
    detected = cameras.project(points) + 5 * rng.standard_normal((4, 2, 21, 2))
    detected[1, 0, 3:6] = np.nan
    term = term_of(cameras, points, detected)
    gradient, curve = term.normal(points)
    expected = numeric(lambda x: term.cost(x).sum(), points, 1e-6)
    np.testing.assert_allclose(gradient, expected, atol=1e-4 * np.abs(expected).max())
    np.testing.assert_allclose(curve, curve.swapaxes(-1, -2), rtol=1e-9, atol=1e-6)


def test_reprojection_is_free_where_nothing_is_seen_or_all_is_exact():
    cameras, points = rig(), hands_joints(2)[:, 0]
    exact = term_of(cameras, points, cameras.project(points))
    assert exact.cost(points).max() < 1e-9
    blind = term_of(cameras, points, np.full((4, 2, 21, 2), np.nan))
    assert not blind.cost(points + 1).any()
    assert not blind.normal(points + 1)[1].any()


def test_an_outlier_costs_at_most_its_share_and_ten_times_the_views_are_not_ten_times_the_evidence():
    cameras, points = rig(), hands_joints(1)[:, 0]
    detected = cameras.project(points)
    detected[0] += 1e4
    term = term_of(cameras, points, detected)
    assert term.cost(points)[0] == pytest.approx(0.5 * ROBUST_SCALE**2 * term.share.sum(), rel=1e-3)
    many = rig(40)
    few, much = (
        np.trace(term_of(c, points, c.project(points)).normal(points)[1], axis1=-2, axis2=-1).mean()
        for c in (cameras, many)
    )
    assert few < much < 3 / 0.001**2 < 10 * few


def test_noise_of_each_view_is_measured():
    cameras, points = rig(), hands_joints(60)[:, 0]
    noise = np.array([1.0, 2.0, 4.0, 0.0])
    detected = cameras.project(points)
    detected += noise[:, None, None, None] * np.random.default_rng(0).standard_normal(detected.shape)
    detected[2, ::2] = np.nan
    np.testing.assert_allclose(view_sigma_px(cameras, detected, points, 0.5), [1, 2, 4, 0.5], rtol=0.1)
    detected[1] = np.nan
    assert np.isnan(view_sigma_px(cameras, detected, points, 0.5)[1])


def test_detections_mend_what_triangulation_got_wrong():
    """Points shifted by 4 mm, detections exact: the fit follows the detections."""
    cameras, truth = rig(), hands_joints(40)[:, 0]
    points = truth + [0.004, 0, 0]
    term = reprojection_term(cameras, cameras.project(truth), np.full(4, 1.0), points, 0.001)
    fit = fit_hand(HandModel.procedural("left"), points, np.full((40, 21), 0.002), 30.0, JOINTS, detections=term)
    assert 1e3 * np.linalg.norm(fit.joints_m - truth, axis=-1).mean() < 1.0
    assert 1e3 * fit.residual_m.mean() > 3


# ---- contact -----------------------------------------------------------------------------------------------------


def test_two_overlapping_spheres_part_half_way():
    """Radius 10 mm each, centres 16 mm apart on x: 4 mm too near, 2 mm for each hand to give way."""
    one = Spheres(np.eye(21)[:1], np.array([0.010]))
    left, right = np.zeros((1, 21, 3)), np.zeros((1, 21, 3))
    left[..., 0], right[..., 0] = -0.008, 0.008
    sides = planes((one, one), (left, right), 1.0)
    assert sides is not None
    for side, points, outward in ((sides[0], left, -1), (sides[1], right, 1)):
        assert side.cost(points)[0] == pytest.approx(0.5 * 2**2)
        assert side.cost(points + [outward * 0.002, 0, 0])[0] == pytest.approx(0, abs=1e-12)
    assert planes((one, one), (left - [0.02, 0, 0], right), 1.0) is None
    assert planes((one, one), (left * np.nan, right), 1.0) is None


def test_contact_gradient_is_the_derivative():
    rng = np.random.default_rng(0)
    spheres = Spheres(rng.dirichlet(np.ones(21), 5), np.full(5, 0.01))
    normal = rng.standard_normal((6, 3))
    term = StayBeside(spheres, np.array([0, 0, 1, 1, 1, 3]), np.array([0, 1, 2, 3, 4, 0]), normal, np.ones(6), 2.0, 4)
    points = 0.1 * rng.standard_normal((4, 21, 3))
    gradient, curve = term.normal(points)
    expected = numeric(lambda x: term.cost(x).sum(), points, 1e-7)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())
    assert not curve[2].any()
    whole = term.normal(points)[1]
    np.testing.assert_array_equal(term.take(slice(1, 4)).normal(points[1:])[1], whole[1:])
    np.testing.assert_array_equal(term.take(slice(1, 4)).cost(points[1:]), term.cost(points)[1:])
    for clear in (replace(term, limit_m=-np.ones(6)), term.take(slice(2, 3))):
        assert not clear.cost(points[: clear.frames]).any()
        assert not clear.normal(points[: clear.frames])[1].any()


@pytest.mark.parametrize("side", HANDS)
def test_spheres_fill_the_fingers_and_do_not_stick_out(side):
    model = HandModel.procedural(side)
    hand = Landmarks(model, anatomical_frames(model), np.zeros(10), np.zeros((21, 3)))
    spheres = fill(hand)
    centers = spheres.centers(hand.rest_landmarks)
    depth = spheres.radius_m - np.linalg.norm(model.v_template[:, None] - centers, axis=-1)
    assert depth.max() < 0.004
    assert np.median(-depth.max(axis=1)) < 0.003
    assert 0.005 < np.median(spheres.radius_m) < 0.015


def test_hands_pushed_into_each_other_come_apart():
    """Flat palms whose points leave too little room between them."""
    models = [HandModel.procedural(side) for side in HANDS]
    pose = [np.tile(pose_of_curl(side, np.full(5, 0.1), np.zeros(5)), (12, 1)) for side in HANDS]
    joints = np.stack(
        [m.joints(np.zeros(10), np.zeros(3), p, np.zeros(3)) for m, p in zip(models, pose, strict=True)], 1
    )
    joints -= joints[:, :, 9:10]
    joints[:, 0] *= [-1, 1, 1]
    joints[:, 0, :, 0] *= -1
    joints[:, 1, :, 1] += 0.012
    sigma = np.full(joints.shape[:3], 0.004)
    found = {}
    for weight in (0.0, 1.0):
        fits = fit_hands(
            models, joints, sigma, 30.0, FittingSettings(landmark_offsets=False, penetration_weight=weight)
        )
        hands = [
            Landmarks(m, anatomical_frames(m), f.betas, np.zeros((21, 3))) for m, f in zip(models, fits, strict=True)
        ]
        sides = planes((fill(hands[0]), fill(hands[1])), (fits[0].joints_m, fits[1].joints_m), 1.0)
        assert sides is not None
        found[weight] = sides[0].cost(fits[0].joints_m).mean()
    assert found[0.0] > 1
    assert found[1.0] < 0.2 * found[0.0]


def test_hands_far_apart_are_fitted_as_if_alone():
    joints = hands_joints(20)
    joints[:, 1] += [1.0, 0, 0]
    sigma = np.full(joints.shape[:3], 0.001)
    models = [HandModel.procedural(side) for side in HANDS]
    both = fit_hands(models, joints, sigma, 30.0)
    for hand in range(2):
        alone = fit_hand(models[hand], joints[:, hand], sigma[:, hand], 30.0)
        np.testing.assert_array_equal(both[hand].joints_m, alone.joints_m)


# ---- time --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fps", [30.0, 60.0])
def test_a_finger_that_beats_fast_keeps_its_speed(fps):
    model = HandModel.procedural("right")
    t = np.arange(round(3 * fps)) / fps
    pose = np.zeros((len(t), 15, 3))
    pose[:, 0] = np.deg2rad(25 + 15 * np.sin(2 * np.pi * 5 * t))[:, None] * anatomical_frames(model)[0, 0]
    truth = model.joints(np.zeros(10), np.zeros((len(t), 3)), pose.reshape(-1, 45), np.zeros((len(t), 3)))
    points = truth + 1e-3 * np.random.default_rng(0).standard_normal(truth.shape)
    fit = fit_hand(model, points, np.full(points.shape[:2], 1e-3), fps, JOINTS)
    ours, true = (np.diff(joints[:, 8] - joints[:, 5], axis=0) for joints in (fit.joints_m, truth))
    assert np.sum(ours * true) / np.sum(true * true) == pytest.approx(1, abs=0.03)


def test_carried_frames_are_valid_until_they_may_have_strayed():
    smoothness = Smoothness(10.0, np.array([3.0, *[1e-9] * 16]), np.ones(17), 1.0)
    seen = np.array([1, 1, 0, 0, 0, 1, 0, 0], dtype=bool)
    far = 0.03 / np.sqrt(3)  # one frame on: A / fps^2 sqrt(1 / 3), A = 3
    either = 1 / np.sqrt(1 / far**2 + 1 / (far**2 * 27))
    expected = [0, 0, either, far * np.sqrt(8 / 2), either, 0, far, far * np.sqrt(8)]
    np.testing.assert_allclose(carried_sd_m(seen, smoothness), expected, rtol=1e-6, atol=1e-12)
    assert carried_sd_m(np.zeros(3, dtype=bool), smoothness).min() > 1


@pytest.mark.parametrize(("gap", "kept"), [(3, True), (30, False)])
def test_short_gaps_are_valid_and_long_ones_are_not(gap, kept):
    points = hands_joints(90)[:, 0]
    truth = points.copy()
    points[30 : 30 + gap] = np.nan
    fit = fit_hand(HandModel.procedural("left"), points, np.full((90, 21), 0.001), 30.0, JOINTS)
    assert fit.valid[30 + gap // 2] == kept
    error = 1e3 * np.linalg.norm(fit.joints_m - truth, axis=-1).mean(axis=1)
    assert error[fit.valid].max() < 15  # three times the limit


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), frames=st.integers(1, 50), count=st.integers(1, 20))
def test_best_seen_frames_are_few_seen_and_rising(seed, frames, count):
    rng = np.random.default_rng(seed)
    sigma = np.where(rng.random((frames, 21)) < rng.random((frames, 1)), 0.001, np.nan)
    chosen = best_seen(sigma, 6, count)
    seen = np.isfinite(sigma).sum(axis=1)
    assert len(chosen) <= count
    assert (np.diff(chosen) > 0).all()
    assert (seen[chosen] >= 6).all()
    assert len(chosen) > 0 or (seen < 6).all()


# ---- windows -----------------------------------------------------------------------------------------------------


class Silent:
    def start(self, stage, total, done, noun): ...
    def advance(self, amount): ...
    def stop(self): ...
    def say(self, text): ...


def filmed(path, frames: int = 50) -> tuple[Store, np.ndarray]:
    """A store as triangulation leaves it: one candidate per hand and view, noisy by a pixel."""
    cameras, joints = rig(), hands_joints(frames)
    rng = np.random.default_rng(0)
    detected = cameras.project(joints) + rng.standard_normal((4, frames, 2, 21, 2))
    store, views = Store(str(path)), {"view": (("view",), np.array(cameras.names, object))}
    store.open()
    sizes = {"view": 4, "frame": frames, "candidate": 2, "coefficient": 5}
    groups = {
        "cameras": (CAMERAS, camera_blocks(cameras, np.ones(4))),
        "detections": (
            DETECTIONS,
            {"points": detected, "score": np.ones((4, frames, 2)), "right": np.ones((4, frames, 2))},
        ),
        "keypoints": (
            KEYPOINTS,
            {
                "points": joints + 0.001 * rng.standard_normal(joints.shape),
                "sigma": np.full(joints.shape[:3], 0.001),
                "assignment": np.broadcast_to(np.array([0, 1]), (4, frames, 2)),
                "inlier": np.ones((4, frames, 2, 21), dtype=bool),
            },
        ),
    }
    for name, (columns, blocks) in groups.items():
        unit = {"view": 4}
        if name == "keypoints":
            unit = {"frame": frames}
        store.create(group_spec(name, columns, sizes, unit, {"code": 1}, {"fps": 30.0}, views))
        store.write(name, (0,), blocks)
        store.finish(name)
    return store, joints


def fitted(store: Store, chunk_frames: int, **options) -> dict[str, np.ndarray]:
    with Engine(EngineSettings(workers=0, chunk_frames=chunk_frames), Silent()) as engine:
        for plan in stage.PLANS.values():
            engine.execute(store, partial(plan, store, store, FittingSettings(**options), None), force=True)
    return {name: store.read("mano", name) for name in ("betas", "global_orient", "hand_pose", "joints", "valid")}


def test_windows_do_not_depend_on_chunks_and_hardly_show(tmp_path):
    store, truth = filmed(tmp_path / "s.zarr")
    one, two = (fitted(store, chunk, window_frames=20, window_overlap=15) for chunk in (64, 7))
    for name, values in one.items():
        assert values.tobytes() == two[name].tobytes(), name
    whole = fitted(store, 64)
    assert 1e3 * np.abs(whole["joints"] - one["joints"]).max() < 0.5
    assert whole["valid"].all()
    assert 1e3 * np.linalg.norm(whole["joints"] - truth, axis=-1).mean() < 1.5


def test_a_hand_never_seen_has_no_shape_and_the_other_is_fitted(tmp_path):
    store, _ = filmed(tmp_path / "s.zarr")
    points, sigma = store.read("keypoints", "points"), store.read("keypoints", "sigma")
    points[:, 0], sigma[:, 0] = np.nan, np.nan
    rest = {name: store.read("keypoints", name) for name in ("assignment", "inlier")}
    store.write("keypoints", (0,), {"points": points, "sigma": sigma, **rest})
    found = fitted(store, 64)
    assert not found["valid"][:, 0].any()
    assert np.isnan(found["joints"][:, 0]).all()
    assert found["valid"][:, 1].all()
    assert np.isnan(store.read("shape", "betas")[0]).all()
