"""A view that disagrees with the rig: found, and named with the right reason, on simulated detections."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hand_scenes import FPS, detect, dome, interaction

from handpipe.core.cameras import Cameras
from handpipe.triangulation.quality.explanations import both_of_a_pair, explain
from handpipe.triangulation.quality.references import grouped
from handpipe.triangulation.quality.view_agreement import agreement
from handpipe.triangulation.quality.views import judge_views

FRAMES, BAD = 48, 2


def scene(views: int, seed: int = 0) -> tuple[Cameras, np.ndarray, np.ndarray]:
    """The rig, the hands (frame, hand, 21, 3) and the candidates (view, frame, candidate, 21, 2)."""
    cameras, hands = dome(views), interaction(FRAMES, seed, reach_m=0.15)
    return cameras, hands, detect(cameras, hands, seen=0.8, noise_px=4.0, seed=seed)[0].astype(float)


def for_all(hands: np.ndarray) -> np.ndarray:
    """The same hands for every view."""
    return np.broadcast_to(hands, (64, *hands.shape))


def turned(cameras: Cameras, view: int, radians: float, shift_m: float) -> Cameras:
    """The rig's record after one camera was moved: it still says where the camera was."""
    T = cameras.T_cam_world.copy()
    c, s = np.cos(radians), np.sin(radians)
    T[view] = np.array([[c, 0, s, shift_m], [0, 1, 0, 0], [-s, 0, c, 0], [0, 0, 0, 1]]) @ T[view]
    return replace(cameras, T_cam_world=T)


def zoomed(cameras: Cameras, view: int, factor: float) -> Cameras:
    K = cameras.K.copy()
    K[view, [0, 1], [0, 1]] *= factor
    return replace(cameras, K=K)


def late(points: np.ndarray, frames: int) -> np.ndarray:
    """A view's candidates, shown some frames later."""
    return np.concatenate([np.full_like(points[:frames], np.nan), points[:-frames]])


def faulty(fault: str, views: int, seed: int) -> tuple[Cameras, np.ndarray, np.ndarray]:
    cameras, hands, points = scene(views, seed)
    w, h = cameras.size_px[BAD] - 1
    match fault:
        case "mirrored":
            points[BAD] = np.stack([w - points[BAD, ..., 0], points[BAD, ..., 1]], -1)
        case "upside down":
            points[BAD] = [w, h] - points[BAD]
        case "size":
            points[BAD] = 0.5 * (points[BAD] + 0.5) - 0.5
        case "delay":
            points[BAD] = late(points[BAD], 5)
        case "moved":
            cameras = turned(cameras, BAD, 0.12, 0.05)
        case "focal length":
            cameras = zoomed(cameras, BAD, 1.3)
        case "exchanged":
            order = list(range(views))
            order[BAD], order[1] = 1, BAD
            cameras = replace(cameras.subset(order), names=cameras.names)
    return cameras, hands, points


@pytest.mark.parametrize("fault", ["exchanged", "mirrored", "size", "delay", "focal length", "moved"])
def test_four_views_judge_each_other(fault):
    """Each view by hands that it did not help to make: the faulty one is a quarter of what makes them."""
    cameras, hands, _ = scene(4, 1)
    points, score, right, _ = detect(cameras, hands, seen=0.8, noise_px=4.0, seed=1)
    cameras, _, points = faulty(fault, 4, 1)
    judged = judge_views(cameras, grouped(cameras, points, score, right), FPS)
    named = {name: each.kind for name, each in judged.explained.items() if each is not None}
    bad = {1, BAD} if fault == "exchanged" else {BAD}
    assert named == {cameras.names[v]: fault for v in bad}
    assert np.delete(judged.agreement.share, list(bad)).min() > 0.6
    assert judged.whole is None


@pytest.mark.parametrize("views", [4, 8, 50])
@pytest.mark.parametrize("seed", range(3))
def test_a_sound_rig_has_no_suspects(views, seed):
    cameras, hands, points = scene(views, seed)
    found = agreement(cameras, for_all(hands), points)
    assert found.share.min() > 0.9
    assert not found.suspect.any()
    np.testing.assert_allclose(found.error_px, 4.0 * np.sqrt(2 * np.log(2)), rtol=0.15)  # Rayleigh's median.


@pytest.mark.parametrize("fault", ["mirrored", "upside down", "size", "delay", "moved", "focal length"])
@pytest.mark.parametrize(("views", "seed"), [(4, 0), (8, 1), (8, 2)])
def test_one_bad_view_is_named_with_its_reason(fault, views, seed):
    cameras, hands, points = faulty(fault, views, seed)
    found = agreement(cameras, for_all(hands), points)
    assert np.flatnonzero(found.suspect).tolist() == [BAD]
    explanation = explain(cameras, hands, points, found, BAD, FPS)
    assert explanation is not None
    assert explanation.kind == fault
    expected = {"size": 0.5, "delay": 5 / FPS, "focal length": 1 / 1.3}
    if fault in expected:
        assert explanation.value == pytest.approx(expected[fault], rel=0.25)


@pytest.mark.parametrize("views", [4, 8])
def test_two_exchanged_views_name_each_other(views):
    cameras, hands, points = faulty("exchanged", views, 0)
    found = agreement(cameras, for_all(hands), points)
    assert np.flatnonzero(found.suspect).tolist() == [1, BAD]
    explained = {cameras.names[view]: explain(cameras, hands, points, found, view, FPS) for view in (1, BAD)}
    assert {view: (each.kind, each.other) for view, each in both_of_a_pair(explained).items() if each} == {
        "view1": ("exchanged", "view2"),
        "view2": ("exchanged", "view1"),
    }


def test_an_exchange_that_one_view_shows_explains_the_other():
    cameras, hands, points = faulty("exchanged", 4, 0)
    found = agreement(cameras, for_all(hands), points)
    one = explain(cameras, hands, points, found, 1, FPS)
    assert one is not None
    both = both_of_a_pair({"view1": one, "view2": None})
    assert both["view2"] is not None
    assert both["view2"].other == "view1"


def test_a_view_that_sees_other_things_has_no_explanation():
    cameras, hands, points = scene(8)
    points[BAD] = np.random.default_rng(0).uniform(0, 480, points[BAD].shape)
    found = agreement(cameras, for_all(hands), points)
    assert found.hopeless[BAD]
    assert explain(cameras, hands, points, found, BAD, FPS) is None


def test_nothing_to_compare_is_not_judged():
    cameras, hands, points = scene(4)
    found = agreement(cameras, for_all(np.full_like(hands, np.nan)), points)
    assert np.isnan(found.share).all()
    assert not found.suspect.any()
    assert found.usual == 0
