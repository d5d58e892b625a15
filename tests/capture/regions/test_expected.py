"""Detection where hands are expected: what is looked at, when the whole image is searched, what is kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from clips import write
from moving_hands import hands_joints, rig

from handpipe.capture.detector import Candidates
from handpipe.capture.frames import view_frames
from handpipe.capture.regions.expected import Expected, see
from handpipe.capture.video import probe
from handpipe.core.hands import LEFT, RIGHT
from handpipe.core.recording import Timeline
from handpipe.core.storage.schema import CAMERAS, PLACES, camera_blocks, group_spec
from handpipe.core.storage.store import Store

HANDS_PX = rig(1).project(hands_joints(1))[0, 0]
IMAGE = np.zeros((480, 640, 3), np.uint8)


def candidates(*hands: np.ndarray) -> Candidates:
    score = np.linspace(0.9, 0.6, len(hands)).astype(np.float32)
    points = np.reshape(np.array(hands, np.float32), (-1, 21, 2))
    return Candidates(points, score, np.full(len(hands), 0.5, np.float32))


class Told:
    """Finds given hands; where it is told to look it adds an offset, or finds nothing. Notes what it was asked."""

    def __init__(self, everywhere: Candidates, offset: float | None = 1.0) -> None:
        self.everywhere, self.offset, self.asked = everywhere, offset, []

    def detect(self, image_bgr):
        self.asked.append("image")
        return self.everywhere

    def detect_near(self, image_bgr, hands_px, right):
        return [self.near(hand_px, side) for hand_px, side in zip(hands_px, right, strict=True)]

    def near(self, hand_px, right):
        self.asked.append("right" if right else "left")
        return candidates() if self.offset is None else candidates(hand_px + self.offset)


def test_known_hands_need_no_search():
    detector = Told(candidates(HANDS_PX[LEFT]))
    found = see(detector, IMAGE, HANDS_PX, search=False)
    assert detector.asked == ["left", "right"]
    np.testing.assert_allclose(found.points_px, HANDS_PX + 1.0, atol=1e-4)


@pytest.mark.parametrize("offset", [None, 200.0], ids=["not found", "far away"])
def test_the_image_is_searched_where_an_expected_hand_is_not_found(offset):
    detector = Told(candidates(HANDS_PX[LEFT] + 3.0), offset)
    found = see(detector, IMAGE, HANDS_PX, search=False)
    assert detector.asked == ["left", "right", "image"]
    np.testing.assert_allclose(found.points_px, HANDS_PX[[LEFT]] + 3.0, atol=1e-4)


def test_one_of_two_hands_that_is_not_found_is_covered_and_not_searched():
    class Right(Told):
        def near(self, hand_px, right):
            return super().near(hand_px, right) if right else candidates()

    detector = Right(candidates(HANDS_PX[LEFT]))
    found = see(detector, IMAGE, HANDS_PX, search=False)
    assert detector.asked == ["right"]
    np.testing.assert_allclose(found.points_px, HANDS_PX[[RIGHT]] + 1.0, atol=1e-4)


def test_uncertainties_stay_with_their_hands():
    def with_sigma(sigma: float, *hands: np.ndarray) -> Candidates:
        return replace(candidates(*hands), sigma_px=np.full((len(hands), 21), sigma, np.float32))

    class Says(Told):
        def detect(self, image_bgr):
            return with_sigma(9.0, HANDS_PX[LEFT])

        def near(self, hand_px, right):
            return with_sigma(3.0, hand_px) if right else with_sigma(1.0)

    found = see(Says(candidates()), IMAGE, HANDS_PX, search=True)
    assert found.sigma_px is not None
    np.testing.assert_allclose(found.points_px[0], HANDS_PX[RIGHT], atol=1e-3)
    assert found.sigma_px[:, 0].tolist() == [3.0, 9.0]


def test_a_hand_that_may_come_is_searched_and_a_known_one_is_not_kept_twice():
    expected = np.where(np.arange(2)[:, None, None] == RIGHT, np.nan, HANDS_PX)
    detector = Told(candidates(HANDS_PX[LEFT] + 4.0, HANDS_PX[RIGHT] + 2.0))
    found = see(detector, IMAGE, expected, search=True)
    assert detector.asked == ["left", "image"]
    np.testing.assert_allclose(found.points_px, HANDS_PX + np.array([1.0, 2.0])[:, None, None], atol=1e-4)
    assert found.score.tolist() == sorted(found.score, reverse=True)


def test_two_regions_that_show_the_same_hand_give_it_once():
    class Left(Told):
        def near(self, hand_px, right):
            return candidates(HANDS_PX[LEFT])

    near = HANDS_PX[LEFT] + 0.02 * np.ptp(HANDS_PX[LEFT], axis=0).max()
    found = see(Left(candidates()), IMAGE, np.stack([HANDS_PX[LEFT], near]), search=False)
    assert len(found.score) == 1


@pytest.mark.parametrize("chunk", [2, 5])
def test_each_picture_is_looked_at_where_its_frame_expects_hands(tmp_path, chunk):
    """View 1 has a duplicated and a missing picture; frame 2 is searched; in frame 3 nothing is expected."""
    cameras, hands = rig(2), hands_joints(5)
    hands[3] = np.nan
    hands[4, RIGHT] += 10.0  # Outside of every image.
    store = Store(str(tmp_path / "session.zarr"))
    store.open()
    blocks = {"points": hands, "search": np.arange(5) == 2}
    coords = {"view": (("view",), np.array(cameras.names, object))}
    for name, columns, written in (
        ("places", PLACES, blocks),
        ("cameras", CAMERAS, camera_blocks(cameras, np.ones(2))),
    ):
        views = coords if name == "cameras" else {}
        store.create(group_spec(name, columns, {"view": 2, "frame": 5, "session": 1}, {"session": 1}, {}, {}, views))
        store.write(name, (0,), written)
        store.finish(name)
    clips = [probe(write(tmp_path / f"{name}.mp4", 5, size=(640, 480))) for name in cameras.names]
    source = np.array([[0, 1, 2, 3, 4], [0, 0, 2, 3, -1]])
    view = view_frames(clips, Timeline(source, source / 30.0), chunk)[1]
    detector = Told(candidates())
    found = [each for _, part in Expected(store, store).look(view, view.units, detector) for each in part]
    assert detector.asked == ["left", "right", "left", "right", "left", "right", "image"]
    assert [None if each is None else len(each.score) for each in found] == [2, 2, 2, 0, None]
    assert found[1] is not None
    np.testing.assert_allclose(found[1].points_px, cameras.project(hands)[1, 1] + 1.0, atol=1e-3)
