"""A second look: where it is cast, what a crop shows, and what is made of what it finds."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import cv2
import numpy as np
import pytest
from clips import write
from hypothesis import given, settings
from hypothesis import strategies as st
from moving_hands import hands_joints, rig
from toy_stage import Quiet

from handpipe.capture import crop_detection
from handpipe.capture.crop_detection import detect_in_crop
from handpipe.capture.crop_images import crop_matrix, paint_over
from handpipe.capture.detector import Candidates
from handpipe.capture.frames import view_frames
from handpipe.capture.settings import DetectionSettings
from handpipe.capture.video import probe
from handpipe.core.cameras import Cameras
from handpipe.core.engine import Engine
from handpipe.core.hands import LEFT, RIGHT
from handpipe.core.recording import Session, Timeline
from handpipe.core.settings import EngineSettings
from handpipe.core.storage.candidates import read_taken_px
from handpipe.core.storage.schema import CAMERAS, DETECTIONS, GROUPS, TIMELINE, TRACKS, camera_blocks, group_spec
from handpipe.core.storage.store import Store
from handpipe.triangulation import second_look
from handpipe.triangulation.assignment import add_second_look
from handpipe.triangulation.second_look import choose_looks
from handpipe.triangulation.settings import SecondLookSettings, TriangulationSettings
from handpipe.triangulation.stage import keypoints_plan

VIEWS, FRAMES = 4, 6
OPTIONS = SecondLookSettings(max_share=1.0)


def scene(views: int = VIEWS, frames: int = FRAMES) -> tuple[Cameras, np.ndarray, np.ndarray]:
    """Cameras, hands (frame, hand, 21, 3), and where they are seen (view, frame, hand, 21, 2)."""
    cameras, hands = rig(views), hands_joints(frames)
    return cameras, hands, cameras.project(hands)


# ---- where to look -----------------------------------------------------------------------------------------------


def test_only_what_was_missed_or_is_bad_is_looked_for_again():
    cameras, hands, taken = scene()
    assert not choose_looks(cameras, hands, taken, OPTIONS).any()
    taken[2, 3, LEFT] = np.nan
    taken[1, 4, RIGHT] += 0.02 * 600 / 0.5  # Two centimetres aside at half a metre.
    taken[0, 4, RIGHT] += 0.003 * 600 / 0.5
    chosen = choose_looks(cameras, hands, taken, OPTIONS)
    assert np.argwhere(chosen).tolist() == [[1, 4, RIGHT], [2, 3, LEFT]]


def test_nothing_is_looked_for_where_it_cannot_be_seen():
    cameras, hands, taken = scene()
    taken[:] = np.nan
    hands[2, LEFT] = np.nan
    hands[4, RIGHT] += 10.0
    K = cameras.K.copy()
    K[1] = np.nan
    chosen = choose_looks(replace(cameras, K=K), hands, taken, OPTIONS)
    expected = np.ones(chosen.shape, bool)
    expected[1] = expected[:, 2, LEFT] = expected[:, 4, RIGHT] = False
    np.testing.assert_array_equal(chosen, expected)


def test_time_is_bounded_and_goes_to_the_worst():
    cameras, hands, taken = scene()
    for view in range(VIEWS):
        taken[view, :, LEFT] += 10.0 * 2**view  # 1, 2, 4, 8 cm, more or less
    taken[0, :, RIGHT] = np.nan
    chosen = choose_looks(cameras, hands, taken, replace(OPTIONS, max_share=3 / 8))
    assert chosen.sum((0, 2)).tolist() == [3] * FRAMES
    assert chosen[0, :, RIGHT].all()
    assert chosen[2:, :, LEFT].all()


def test_frames_are_chosen_one_by_one():
    cameras, hands, taken = scene()
    taken[np.random.default_rng(0).random(taken.shape[:3]) < 0.5] = np.nan
    options = replace(OPTIONS, max_share=0.3)
    one_by_one = [choose_looks(cameras, hands[f : f + 1], taken[:, f : f + 1], options) for f in range(FRAMES)]
    np.testing.assert_array_equal(choose_looks(cameras, hands, taken, options), np.concatenate(one_by_one, axis=1))


# ---- one look ----------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None, derandomize=True)
@given(angle=st.floats(-3.14, 3.14), zoom=st.floats(0.2, 5), seed=st.integers(0, 5))
def test_a_crop_shows_the_hand_upright_and_in_its_middle_however_it_is_turned(angle, zoom, seed):
    px = scene()[2][seed % VIEWS, seed, LEFT]
    turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    px = px @ turn.T + [100.0, -50.0]
    M = crop_matrix(px, scale=2.0, size_px=256)
    in_crop = px @ M[:, :2].T + M[:, 2]
    assert in_crop[9, 0] == pytest.approx(in_crop[0, 0], abs=1e-6), "the middle finger's root is above the wrist"
    assert in_crop[9, 1] < in_crop[0, 1]
    low, high = in_crop.min(0), in_crop.max(0)
    np.testing.assert_allclose((low + high) / 2, 127.5, atol=1e-6)
    assert (high - low).max() == pytest.approx(128)
    assert np.linalg.det(M[:, :2]) > 0, "a mirrored hand would be the other one"


def test_without_its_wrist_a_hand_is_not_turned():
    px = scene()[2][0, 0, LEFT]
    px[0] = np.nan
    M = crop_matrix(px, 2.0, 256)
    np.testing.assert_allclose(M[:, :2], M[0, 0] * np.eye(2), atol=1e-12)


def test_the_other_hand_is_painted_over_and_this_one_is_not():
    own = np.stack([np.linspace(60, 100, 21), np.linspace(180, 60, 21)], axis=-1)
    other = own + [30.0, 0.0]  # As near as a hand's skin reaches.
    crop = np.full((256, 256, 3), 200, np.uint8)
    paint_over(crop, own, other)
    at = lambda px: crop[tuple(np.round(px).astype(int).T[::-1])][:, 0]  # noqa: E731
    assert (at(own) == 200).all()
    assert (at(other) == 127).all()
    assert (crop[:, 230:] == 200).all(), "far from both nothing changes"
    untouched = np.full((256, 256, 3), 200, np.uint8)
    paint_over(untouched, own, np.full((21, 2), np.nan))
    assert (untouched == 200).all()


class FindsSpots:
    """All joints of a hand lie on a white spot; every spot is a hand."""

    def detect(self, image_bgr):
        count, _, _, middle = cv2.connectedComponentsWithStats((image_bgr[..., 0] > 180).astype(np.uint8))
        points = np.repeat(middle[1:, None], 21, axis=1).astype(np.float32)
        score = np.linspace(0.9, 0.6, count - 1).astype(np.float32)
        sigma = np.full((count - 1, 21), 2.0, np.float32)
        return Candidates(points, score, np.ones(count - 1, np.float32), sigma)


def test_what_a_crop_shows_is_told_in_pixels_of_the_image_and_the_nearest_counts():
    px = scene()[2][0, 0]
    middle = px[LEFT].mean(0)
    image = np.zeros((480, 640, 3), np.uint8)
    unknown = np.stack([px[LEFT], np.full((21, 2), np.nan)])
    assert not len(detect_in_crop(FindsSpots(), image, unknown, LEFT, OPTIONS.crop_scale, OPTIONS.crop_px).score)
    far = middle + 0.9 * np.ptp(px[LEFT], axis=0).max() * np.array([-1, 0])
    for at in (middle, far):
        cv2.circle(image, tuple(np.round(at).astype(int).tolist()), 6, (255, 255, 255), -1)
    found = detect_in_crop(FindsSpots(), image, unknown, LEFT, OPTIONS.crop_scale, OPTIONS.crop_px)
    np.testing.assert_allclose(found.points_px[0], np.tile(np.round(middle), (21, 1)), atol=0.5)
    assert found.score.shape == (1,)
    assert (found.score[0] > 0, found.right[0]) == (True, 1)
    zoom = OPTIONS.crop_px / (OPTIONS.crop_scale * np.ptp(px[LEFT], axis=0).max())
    assert found.sigma_px is not None
    np.testing.assert_allclose(found.sigma_px, 2.0 / zoom, rtol=0.3)


# ---- what is made of it ------------------------------------------------------------------------------------------


def candidates(seen: np.ndarray, again: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """points and score of one detection per hand and what a second look found of each."""
    points = np.concatenate([seen, again], axis=2)
    return points, np.where(np.isfinite(points).all((-1, -2)), 0.9, np.nan)


def test_a_second_look_gives_a_missed_hand_and_mends_a_bad_one():
    cameras, hands, seen = scene()
    again = np.full(seen.shape, np.nan)
    member = np.broadcast_to(np.array([0, 1])[:, None], (FRAMES, 2, VIEWS)).copy()
    again[1, 2, RIGHT] = seen[1, 2, RIGHT] + 2.0
    seen[1, 2, RIGHT], member[2, RIGHT, 1] = np.nan, -1
    again[3, 4, LEFT] = seen[3, 4, LEFT] + 2.0
    seen[3, 4, LEFT] += 12.0
    again[0, 0, LEFT] = seen[0, 0, LEFT] + 2.0  # Worse than what there was.
    expected = member.copy()
    expected[2, RIGHT, 1], expected[4, LEFT, 3] = 3, 2
    np.testing.assert_array_equal(add_second_look(cameras, *candidates(seen, again), member, hands), expected)


@pytest.mark.parametrize("wrong", ["the other hand", "a bent hand", "nowhere near", "half a hand"])
def test_a_wrong_second_look_is_left(wrong):
    cameras, hands, seen = scene()
    again, member = np.full(seen.shape, np.nan), np.full((FRAMES, 2, VIEWS), -1)
    view, frame = 1, 2
    again[view, frame, LEFT] = {
        "the other hand": seen[view, frame, RIGHT],
        "a bent hand": seen[view, frame, LEFT][::-1],
        "nowhere near": seen[view, frame, LEFT] + 60.0,
        "half a hand": np.where(np.arange(21)[:, None] < 9, seen[view, frame, LEFT], seen[view, frame, RIGHT]),
    }[wrong]
    assert (add_second_look(cameras, *candidates(seen, again), member, hands) == -1).all()


def test_of_two_hands_that_touch_a_second_look_is_given_to_the_nearer():
    cameras, hands, _ = scene()
    hands[:, RIGHT] = hands[:, LEFT] + [0.006, 0.0, 0.0]
    seen = cameras.project(hands)
    again, member = np.full(seen.shape, np.nan), np.full((FRAMES, 2, VIEWS), -1)
    again[1, 2, LEFT] = seen[1, 2, RIGHT]
    again[1, 3, RIGHT] = seen[1, 3, RIGHT]
    found = add_second_look(cameras, *candidates(seen, again), member, hands)
    assert np.argwhere(found >= 0).tolist() == [[3, RIGHT, 1]]


# ---- in a session ------------------------------------------------------------------------------------------------


def stored(path, unseen: dict[tuple[int, int], int]) -> tuple[Session, Store, np.ndarray]:
    """A session up to its tracks: both hands detected in every view, but for (view, frame): hand; gray clips."""
    cameras, hands, seen = scene()
    clips = tuple(probe(write(path / f"{name}.mp4", FRAMES, size=(640, 480))) for name in cameras.names)
    source = np.tile(np.arange(FRAMES), (VIEWS, 1))
    source[0, 3] = 2  # A duplicated picture, and one that is not there.
    source[1, 5] = -1
    timeline = Timeline(source, source / 30.0)
    member = np.broadcast_to(np.array([0, 1]), (VIEWS, FRAMES, 2)).copy()
    for (view, frame), hand in unseen.items():
        seen[view, frame, hand], member[view, frame, hand] = np.nan, -1
    score = np.where(np.isfinite(seen[..., 0, 0]), 0.9, np.nan)
    store, coords = Store(str(path / "session.zarr")), {"view": (("view",), np.array(cameras.names, object))}
    store.open()
    groups = {
        "timeline": (TIMELINE, {"source_frame": source, "time": timeline.time_s}),
        "cameras": (CAMERAS, camera_blocks(cameras, np.ones(VIEWS))),
        "detections": (DETECTIONS, {"points": seen, "score": score, "right": score}),
        "groups": (GROUPS, {"member": member, "points": hands, "votes": np.zeros((FRAMES, 2))}),
        "tracks": (
            TRACKS,
            {"slot": np.tile([0, 1], (FRAMES, 1)), "points": hands, "predicted": np.full(hands.shape, np.nan)},
        ),
    }
    sizes = {"view": VIEWS, "frame": FRAMES, "candidate": 2, "session": 1}
    for name, (columns, blocks) in groups.items():
        views = coords if any("view" in axes.split() for axes, *_ in columns.values()) else {}
        store.create(group_spec(name, columns, sizes, {"session": 1}, {"code": 1}, {"fps": 30.0}, views))
        store.write(name, (0,), blocks)
        store.finish(name)
    session = Session(path, clips, {}, timeline, timeline, 30.0, {})
    return session, store, hands


class Upright:
    """Finds the hand that is expected: it knows how a crop shows it. Notes the brightness of what it is shown."""

    def __init__(self, expected_px):
        self.expected_px, self.shown, self.options = expected_px, [], None

    def detect(self, image_bgr):
        self.shown.append(round(float(image_bgr[100, 128, 0]) / 20))
        M = crop_matrix(self.expected_px, OPTIONS.crop_scale, len(image_bgr))
        points = self.expected_px @ M[:, :2].T + M[:, 2] + 0.1
        return Candidates(points[None].astype(np.float32), np.array([0.7], np.float32), np.array([0.2], np.float32))


def execute(store: Store, make, chunk: int) -> bool:
    with Engine(EngineSettings(workers=0, chunk_frames=chunk), Quiet()) as engine:
        return engine.execute(store, make)


@pytest.mark.parametrize("chunk", [2, 64])
def test_only_the_chosen_pictures_are_looked_at_and_the_fit_reads_what_was_taken(tmp_path, monkeypatch, chunk):
    session, store, hands = stored(tmp_path, {(0, 3): LEFT, (1, 5): RIGHT, (2, 4): RIGHT, (2, 0): RIGHT})
    seen = scene()[2]
    # The same hand in the same view, so that one detector can know it: a look at frame 4 of view 2 is a look at it.
    detector = Upright(seen[2, 4, RIGHT])
    monkeypatch.setattr(crop_detection, "make_detector", lambda options: detector)
    look = crop_detection.CropDetector(DetectionSettings(), OPTIONS.crop_scale, OPTIONS.crop_px)
    plan = partial(second_look.plan, session, store, store, view_frames, look, OPTIONS)
    assert execute(store, partial(second_look.looks_plan, store, store, OPTIONS), chunk)
    assert execute(store, plan, chunk)
    assert not execute(store, plan, chunk)
    assert detector.shown == [2, 0, 4], "the clips' pictures, in order; none where there is no picture"
    looked = np.argwhere(np.isfinite(store.read("second_look", "score"))).tolist()
    assert looked == [[0, 3, LEFT], [2, 0, RIGHT], [2, 4, RIGHT]]
    assert store.attrs("second_look")["looks_per_image"] == pytest.approx(3 / (VIEWS * FRAMES))
    np.testing.assert_allclose(store.read("second_look", "points")[2, 4, RIGHT], seen[2, 4, RIGHT], atol=0.5)

    make = partial(keypoints_plan, store, store, TriangulationSettings(), second_look=True)
    assert execute(store, make, chunk)
    assignment = store.read("keypoints", "assignment")
    assert assignment[2, 4].tolist() == [0, 3]
    taken = read_taken_px(store, slice(3, 6))
    np.testing.assert_array_equal(taken[2, 1, RIGHT], store.read("second_look", "points")[2, 4, RIGHT])
    np.testing.assert_array_equal(taken[2, 1, LEFT], store.read("detections", "points")[2, 4, LEFT])
    assert np.isnan(taken[1, 2, RIGHT]).all()
    np.testing.assert_allclose(store.read("keypoints", "points"), hands, atol=5e-3)

    without = partial(keypoints_plan, store, store, TriangulationSettings(), second_look=False)
    assert execute(store, without, chunk), "turned off, the keypoints are computed without it"
    assert store.read("keypoints", "assignment").max() == 1
    assert np.isnan(read_taken_px(store, slice(0, 6))[2, 4, RIGHT]).all()


def test_a_lost_hand_is_looked_for_where_it_should_be_and_a_known_one_founds_no_other(tmp_path):
    """Two views find the lost hand in their second look; second looks at the known hand are no such evidence."""
    _, store, hands = stored(tmp_path, {})
    seen = scene()[2]
    seen[:, 2, RIGHT] = np.nan
    tracks = {name: store.read("tracks", name) for name in TRACKS}
    tracks["slot"][2, RIGHT], tracks["points"][2, RIGHT], tracks["predicted"][2, RIGHT] = -1, np.nan, hands[2, RIGHT]
    member = store.read("groups", "member")
    member[:, 2, RIGHT] = -1
    store.write("tracks", (0,), tracks)
    store.write(
        "groups", (0,), {**{name: store.read("groups", name) for name in ("points", "votes")}, "member": member}
    )
    score = np.where(np.isfinite(seen[..., 0, 0]), 0.9, np.nan)
    store.write("detections", (0,), {"points": seen, "score": score, "right": score})
    again = np.full(seen.shape, np.nan)
    for hand, expected in ((LEFT, [-1] * 4), (RIGHT, [3, 3, -1, -1])):
        again[:] = np.nan
        again[:2, 2, hand] = scene()[2][:2, 2, RIGHT]
        found = np.where(np.isfinite(again[..., 0, 0]), 0.9, np.nan)
        spec = group_spec(
            "second_look", second_look.SECOND_LOOK, {"view": VIEWS, "frame": FRAMES, "session": 1}, {"session": 1},
            {"hand": hand}, {"fps": 30.0},
        )  # fmt: skip
        store.create(spec)
        store.write("second_look", (0,), {"points": again, "score": found, "right": found})
        store.finish("second_look")
        execute(store, partial(keypoints_plan, store, store, TriangulationSettings(), second_look=True), 64)
        assert store.read("keypoints", "assignment")[:, 2, RIGHT].tolist() == expected
