"""Clocks found by the hands' motion: the equations, whole frames, fractions, drift, and what cannot be known."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hand_scenes import FPS, detect, dome, error_m, interaction
from stored_detections import fill
from toy_stage import Quiet

from handpipe.capture.crop_detection import CropDetector
from handpipe.capture.settings import DetectionSettings
from handpipe.core.engine import Engine
from handpipe.core.hands import NUM_JOINTS
from handpipe.core.recording import Clip, ViewFrames
from handpipe.core.settings import EngineSettings
from handpipe.core.storage.candidates import detections_group, read_candidates, read_taken_px
from handpipe.core.storage.schema import TRACKS, group_spec
from handpipe.core.storage.store import Store
from handpipe.triangulation.frame_shifts import find_shifts
from handpipe.triangulation.grouping import HandGroups
from handpipe.triangulation.second_look import LookAgain
from handpipe.triangulation.settings import TimeSyncSettings, TriangulationSettings
from handpipe.triangulation.stage import IDENTITY_PLANS, keypoints_plan
from handpipe.triangulation.time_offsets import PARTS, _errors, offset_equations, solve_offsets
from handpipe.triangulation.time_sync_stage import aligned_plan, clock_plan, instants, sample

VIEWS, FRAMES, FINE, LEAD = 5, 48, 10, 16


def fast(seed: int = 0) -> np.ndarray:
    """(fine frame, hand, 21, 3) hands that pass each other in a second and a half, and wave; FINE steps per frame."""
    count = (FRAMES + 2 * LEAD) * FINE
    motion = interaction(count, seed, reach_m=0.2)
    t = np.arange(count)[:, None] / (FPS * FINE)
    wave = 0.05 * np.concatenate([np.sin(7 * t + 1), np.sin(5 * t), np.cos(6 * t)], axis=-1)
    return motion + wave[:, None, None]


def film(late: np.ndarray, motion: np.ndarray, noise_px: float = 2.0):
    """Detections of clips whose frame n was taken `late` (view, frame) frames after instant n."""
    cameras, found = dome(VIEWS), []
    for v, row in enumerate(late):
        at = ((np.arange(FRAMES) + LEAD + row) * FINE).round().astype(int)
        found.append(detect(cameras.subset([v]), motion[at], seen=0.9, noise_px=noise_px, seed=v)[:3])
    return cameras, *(np.concatenate(parts) for parts in zip(*found, strict=True))


def staged(path, cameras, found, *, chunk_frames=64, keypoints=False, **options) -> Store:
    store = Store(str(path / f"{chunk_frames}.zarr"))
    store.open()
    fill(store, cameras, *found)
    settings = TimeSyncSettings(**{"instants": 24, **options})
    with Engine(EngineSettings(workers=0, chunk_frames=chunk_frames), Quiet()) as engine:
        engine.execute(store, partial(clock_plan, store, store, settings))
        if detections_group(store) == "aligned":
            engine.execute(store, partial(aligned_plan, store))
        for plan in (*IDENTITY_PLANS.values(), keypoints_plan) if keypoints else ():
            engine.execute(store, partial(plan, store, store, TriangulationSettings()))
    return store


def test_the_equations_are_those_of_all_points_and_offsets_at_once():
    """A naive twin: all points, offsets and drifts in one least squares problem, the points eliminated then."""
    rng = np.random.default_rng(1)
    cameras, views = dome(4), 4
    points = 0.1 * rng.normal(size=(1, 1, NUM_JOINTS, 3))
    px = cameras.project(points) + rng.normal(0, 3, (views, 1, 1, NUM_JOINTS, 2))
    velocity = rng.normal(0, 50, px.shape)
    groups, when = HandGroups(np.zeros((1, 1, views), int), points, np.zeros((1, 1))), np.array([0.7])
    equations = offset_equations(cameras, px, velocity, groups, np.zeros(1, int), when)
    error, speed, J, weight = _errors(cameras, px, velocity, groups)
    rows, values = [], []
    for v, j in np.ndindex(views, NUM_JOINTS):
        for axis in range(2):
            row = np.zeros(3 * NUM_JOINTS + 2 * views)
            row[3 * j : 3 * j + 3] = -J[v, 0, 0, j, axis]
            row[3 * NUM_JOINTS + v] = speed[v, 0, 0, j, axis]
            row[3 * NUM_JOINTS + views + v] = when[0] * speed[v, 0, 0, j, axis]
            rows.append(np.sqrt(weight[v, 0, 0, j]) * row)
            values.append(np.sqrt(weight[v, 0, 0, j]) * error[v, 0, 0, j, axis])
    normal, rhs = np.array(rows).T @ np.array(rows), np.array(rows).T @ np.array(values)
    k = 3 * NUM_JOINTS
    gain = normal[k:, :k] @ np.linalg.inv(normal[:k, :k])
    np.testing.assert_allclose(equations.A[0], normal[k:, k:] - gain @ normal[:k, k:], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(equations.b[0], rhs[k:] - gain @ rhs[:k], rtol=1e-6, atol=1e-6)
    assert not equations.A[1:].any()


def test_an_offset_moves_the_error_the_way_the_equations_say():
    """Detections moved by velocity times offset, nothing else: one step finds the offsets."""
    rng = np.random.default_rng(2)
    cameras, frames = dome(5), 16
    motion = interaction(frames, reach_m=0.1)[:, :1]
    late = np.array([0.004, -0.002, 0.0, 0.003, -0.005])
    velocity = np.repeat(rng.normal(0, 200, (5, frames, 1, 1, 2)), NUM_JOINTS, axis=3)
    px = cameras.project(motion) + late[:, None, None, None, None] * velocity
    groups = HandGroups(np.zeros((frames, 1, 5), int), motion, np.zeros((frames, 1)))
    part, when = np.arange(frames) * PARTS // frames, np.linspace(-1, 1, frames)
    (offset, drift), (sigma, _) = solve_offsets(offset_equations(cameras, px, velocity, groups, part, when), False)
    np.testing.assert_allclose(offset, late - late.mean(), atol=2e-4)
    np.testing.assert_allclose(drift, 0, atol=4e-4)
    assert (sigma < 1e-3).all()


def test_whole_frames_are_found_from_far_away():
    shift = np.array([0, -11, 7, 12, -12])
    cameras, points, score, _ = film(np.tile(-shift[:, None], FRAMES), fast())
    frames = np.arange(FRAMES)
    found = find_shifts(cameras, points, score, frames, frames, 15)
    np.testing.assert_array_equal(found - found[0], shift)


@pytest.mark.parametrize("seed", range(4))
def test_hands_that_rest_are_not_moved_in_time(seed):
    """They agree at any shift; which candidates are mixed or missing makes one a little better by chance."""
    cameras, frames = dome(VIEWS), 2 * FRAMES
    resting = np.broadcast_to(interaction(1, seed), (frames, 2, NUM_JOINTS, 3))
    points, score, _, _ = detect(cameras, resting, seen=0.7, mixed=0.3, seed=seed)
    every = np.arange(frames)
    assert not find_shifts(cameras, points, score, every, every[20:-20], 10).any()


def test_offsets_without_timestamps_are_found_and_taken_out(tmp_path):
    late = np.array([0.0, -12.4, 5.3, 12.4, -0.6])
    motion = fast()
    cameras, *found = film(np.tile(late[:, None], FRAMES), motion)
    store = staged(tmp_path, cameras, found, keypoints=True, instants=48)
    offset = FPS * store.read("clock", "offset")
    np.testing.assert_allclose(offset, late - np.median(late), atol=0.1)
    assert store.read("clock", "used").all()
    assert (np.abs(offset - late) < 5 * FPS * store.read("clock", "sigma") + 0.02).all()
    truth = motion[(np.arange(FRAMES) + LEAD) * FINE]
    inner = slice(13, -13)
    assert np.median(error_m(store.read("keypoints", "points")[inner], truth[inner])) < 0.004
    taken = read_taken_px(store, inner)
    seen = np.linalg.norm(taken - cameras.project(truth[inner]), axis=-1)
    assert np.nanmedian(seen) < 4.0, "what was taken is at the instant"
    assert (
        read_candidates(store, inner, False)["points"].tobytes() == store.read("aligned", "points")[:, inner].tobytes()
    )

    off = staged(tmp_path, cameras, found, chunk_frames=63, estimate=False)
    assert detections_group(off) == "detections"
    assert np.isnan(off.read("clock", "offset")).all()
    assert (off.read("clock", "source_frame") == np.arange(FRAMES)).all()


def test_chunks_do_not_change_a_bit(tmp_path):
    cameras, *found = film(np.tile([[0.0], [0.4], [-1.3], [0.0], [2.2]], FRAMES), fast())
    one, many = (staged(tmp_path, cameras, found, chunk_frames=n) for n in (64, 7))
    for group, name in (("clock", "time"), ("aligned", "points"), ("aligned", "score"), ("aligned", "right")):
        assert one.read(group, name).tobytes() == many.read(group, name).tobytes(), f"{group}/{name}"


def test_synchronous_cameras_are_left_alone(tmp_path):
    cameras, *found = film(np.zeros((VIEWS, FRAMES)), fast())
    store = staged(tmp_path, cameras, found)
    assert detections_group(store) == "detections"
    assert not store.read("clock", "used").any()
    assert (np.abs(store.read("clock", "offset")) < 0.1 / FPS).all()


def test_resting_hands_tell_nothing(tmp_path):
    motion = fast()
    cameras, *found = film(
        np.tile([[0.0], [5.0], [-3.0], [0.0], [2.0]], FRAMES), np.broadcast_to(motion[:1], motion.shape)
    )
    store = staged(tmp_path, cameras, found)
    assert not store.read("clock", "used").any()
    assert detections_group(store) == "detections"


def test_a_drifting_clock_is_noticed(tmp_path):
    late = np.zeros((VIEWS, FRAMES))
    late[1] = np.linspace(-0.8, 0.8, FRAMES)
    cameras, *found = film(late, fast())
    store = staged(tmp_path, cameras, found, max_offset_s=0.1, instants=48)
    drift = store.read("clock", "drift") * FRAMES
    assert drift[1] == pytest.approx(1.6, abs=0.3)
    assert (np.abs(np.delete(drift, 1)) < 0.3).all()


def test_the_common_clock_is_the_median_and_goes_on_where_there_is_nothing():
    time = np.array(
        [[0.0, 0.1, np.nan, 0.3, np.nan], [0.02, 0.1, np.nan, 0.3, np.nan], [0.01, 0.4, np.nan, 0.29, np.nan]]
    )
    np.testing.assert_allclose(instants(time, 10.0), [0.01, 0.1, 0.2, 0.3, 0.4])
    np.testing.assert_allclose(instants(np.full((2, 3), np.nan), 10.0), [0, 0.1, 0.2])


@pytest.mark.parametrize("count", [20, 500, 100_000])
def test_a_long_recording_is_sampled(count):
    frames, looked = sample(count, 128, 20)
    assert len(looked) == min(count, 128)
    assert np.isin(looked, frames).all()
    assert frames[-1] < count
    assert len(frames) <= max(count if count < 1000 else 0, 8 * (16 + 40))
    assert (np.diff(frames) > 0).all()
    assert looked[-1] - looked[0] > 0.8 * (count - 40)


def no_images(*args):
    raise AssertionError("no image is looked at here")


def test_a_second_look_sees_the_hands_when_the_image_was_taken(tmp_path):
    """Tracks that move steadily: at an image that is a fifth of a frame late the hand is a fifth further on."""
    late = np.zeros((VIEWS, FRAMES))
    late[2] = 0.2
    cameras, *found = film(late, fast())
    store = staged(tmp_path, cameras, found, min_offset_frames=0.05)
    assert store.read("clock", "used").all()
    steady = np.arange(FRAMES)[:, None, None, None] * np.full((1, 2, NUM_JOINTS, 3), 0.01)
    sizes = {"frame": FRAMES, "session": 1}
    store.create(group_spec("tracks", TRACKS, sizes, {"session": 1}, {"code": 1}, {"fps": FPS}))
    blocks = {"slot": np.zeros((FRAMES, 2)), "points": steady, "predicted": np.full(steady.shape, np.nan)}
    store.write("tracks", (0,), blocks)
    clip = Clip(tmp_path / "c.mp4", FRAMES, FPS, (640, 480))
    frames = ViewFrames(clip, 2, store.read("clock", "source_frame")[2], 16, no_images)
    look = LookAgain(store, store, frames, CropDetector(DetectionSettings(), 2.0, 256))
    lag = store.read("clock", "lag")[2] * FPS
    assert np.allclose(lag, -0.2, atol=0.05)
    for unit in look.units:
        part = slice(16 * unit[1], 16 * unit[1] + 16)
        at_image = look._at_image(unit, steady[part])
        expected = steady[part] - lag[part, None, None, None] * 0.01
        if part.stop == FRAMES:
            expected[-1] = steady[-1]
        np.testing.assert_allclose(at_image, expected, atol=1e-6)
