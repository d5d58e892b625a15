"""Where hands are expected: which images are searched, and what is between them."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from golden_recording import fill, put
from hand_scenes import detect, dome, interaction
from toy_stage import Quiet

from handpipe.core.engine import Engine
from handpipe.core.hands import LEFT, RIGHT
from handpipe.core.settings import EngineSettings
from handpipe.core.storage.schema import DETECTIONS
from handpipe.core.storage.store import Store
from handpipe.triangulation.places import Searched, first_groups_plan, interpolated, places_plan, searched


def test_searched_images_are_fixed_from_the_start_and_every_view_has_its_turn():
    which = searched(fps=30.0, views=50, step_s=0.2, most_views=16)
    assert which == Searched(step=6, stride=3)
    source = np.tile(np.arange(40), (50, 1))
    source[4, 6] = -1
    images = which.images(source)
    assert which.frames(40).tolist() == [0, 6, 12, 18, 24, 30, 36, 39]
    assert np.flatnonzero((images >= 0).any(0)).tolist() == which.frames(40).tolist()
    assert set((images >= 0).sum(0)[which.frames(40)].tolist()) <= {16, 17}
    assert images[4, 6] == -1
    assert (images >= 0).any(1).all()
    longer = which.images(np.tile(np.arange(90), (50, 1)))
    np.testing.assert_array_equal(longer[:, :37][source[:, :37] >= 0], images[:, :37][source[:, :37] >= 0])


@pytest.mark.parametrize(("fps", "views"), [(6.0, 4), (30.0, 3)])
def test_few_views_are_all_searched_and_slow_cameras_in_every_frame(fps, views):
    which = searched(fps, views, 0.2, 16)
    assert which.stride == 1
    assert which.step == max(1, int(0.2 * fps))


def test_hands_move_evenly_between_searched_frames():
    key = np.array([0, 4, 8, 9])
    points = np.zeros((4, 2, 21, 3))
    points[:, LEFT, :, 0] = np.array([0.0, 0.4, 0.8, 1.0])[:, None]
    points[:, RIGHT] = np.nan
    places, search = interpolated(points, key, 10, 7.5)
    np.testing.assert_allclose(places[:, LEFT, 5, 0], [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0])
    assert np.isnan(places[:, RIGHT]).all()
    assert not search.any(), "a hand that was never found is not searched everywhere"


def test_images_are_searched_where_a_hand_comes_or_goes():
    key = np.array([0, 4, 8, 12, 16])
    points = np.zeros((5, 2, 21, 3))
    points[:2, RIGHT] = np.nan
    _, search = interpolated(points, key, 17, 7.5)
    assert np.flatnonzero(search).tolist() == [4, 5, 6, 7]
    points[3, LEFT] = np.nan
    places, search = interpolated(points, key, 17, 7.5)
    assert np.flatnonzero(search).tolist() == [4, 5, 6, 7, *range(9, 16)]
    assert np.isfinite(places[:, LEFT]).all(), "a hand that was lost once is also expected between its neighbours"


def test_chunks_do_not_change_a_bit(tmp_path):
    rig, motion = dome(4), interaction(14, reach_m=0.15)
    points, score, right, _ = detect(rig, motion, noise_px=2.0, seed=2)
    which, found = Searched(step=4, stride=1), []
    for chunk in (3, 64):
        store = Store(str(tmp_path / f"{chunk}.zarr"))
        store.open()
        fill(store, rig, points, score, right)
        blocks = {"points": points, "score": score, "right": right}
        put(store, "first_look", DETECTIONS, {"view": 4, "frame": 14, "candidate": 2}, blocks)
        with Engine(EngineSettings(workers=0, chunk_frames=chunk), Quiet()) as engine:
            assert engine.execute(store, partial(first_groups_plan, store, store, which))
            assert engine.execute(store, partial(places_plan, store, which))
            assert not engine.execute(store, partial(places_plan, store, which))
        found.append([store.read("places", name) for name in ("points", "search")])
        members = store.read("first_groups", "member")
        assert (members[:, [0, 4, 8, 12, 13]] >= 0).any((0, 2)).all()
        assert (members[:, [1, 2, 3, 9, 10]] < 0).all()
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
    away_m = np.linalg.norm(found[0][0] - motion, axis=-1)
    assert np.nanmedian(away_m[[0, 4, 8, 12, 13]]) < 0.01, "in searched frames; between them the motion is not linear"
