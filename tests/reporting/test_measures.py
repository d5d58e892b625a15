"""What the report measures, on motion whose measures are known."""

from __future__ import annotations

import numpy as np
import pytest

from handpipe.core.hands import BONES
from handpipe.rendering.rig import dome_rig
from handpipe.reporting.measures import (
    acceleration_m_s2,
    binned,
    bone_lengths_m,
    gap_m,
    hands_box,
    median,
    project,
    reprojection_px,
    spread_views,
    worst_frames,
)


def test_median_is_that_of_what_is_there(rng):
    values = rng.normal(size=(4, 5, 6))
    values[rng.random(values.shape) < 0.3] = np.nan
    values[1] = np.nan
    found = median(values, axis=(1, 2))
    assert np.isnan(found[1])
    assert found[[0, 2, 3]] == pytest.approx([np.nanmedian(values[i]) for i in (0, 2, 3)])
    assert median(values) == pytest.approx(np.nanmedian(values))
    assert np.isnan(median(np.zeros((3, 0)), axis=1)).all()


def test_acceleration_of_a_falling_hand():
    fps, t = 50.0, np.arange(9) / 50.0
    fall = np.zeros((9, 2, 21, 3))
    fall[..., 2] = -0.5 * 9.81 * t[:, None, None] ** 2
    fall[4, 1] = np.nan
    found = acceleration_m_s2(fall, fps)
    assert found[1:-1, 0] == pytest.approx(9.81)
    assert np.isnan(found[[0, -1]]).all()
    assert np.isnan(found[3:6, 1]).all()
    assert np.isnan(acceleration_m_s2(fall[:2], fps)).all()


def test_bones_and_the_gap_between_the_hands(rng):
    joints = rng.normal(size=(21, 3))
    assert bone_lengths_m(joints)[3] == pytest.approx(np.linalg.norm(joints[BONES[3, 0]] - joints[BONES[3, 1]]))
    meshes = rng.uniform(0, 0.1, (3, 2, 40, 3))
    meshes[:, 1] += [0.4, 0, 0]
    meshes[1, 0] = np.nan
    found = gap_m(meshes)
    every = np.linalg.norm(meshes[0, 0][:, None] - meshes[0, 1], axis=-1)
    assert found[0] == pytest.approx(every.min())
    assert np.isnan(found[1])


def test_bins_keep_what_is_worst():
    values = np.arange(100.0)[:, None] * [1, np.nan]
    starts, worst = binned(values, 30, np.nanmax)
    assert starts.tolist() == list(range(0, 100, 4))
    assert worst[:, 0].tolist() == [start + 3 for start in starts.tolist()]
    assert np.isnan(worst[:, 1]).all()
    assert len(binned(values[:7], 30, np.nanmax)[0]) == 7


def test_the_chosen_views_are_used_and_apart():
    rig = dome_rig(50)
    used = np.full(50, 10.0)
    used[7] = 0
    chosen = spread_views(rig, used, 6)
    assert len(set(chosen)) == 6
    assert 7 not in chosen
    away = rig.centers_m[chosen] / np.linalg.norm(rig.centers_m[chosen], axis=1, keepdims=True)
    angles = np.degrees(np.arccos(np.clip(away @ away.T, -1, 1)))[np.triu_indices(6, 1)]
    assert angles.min() > 35
    assert len(spread_views(rig.subset([0, 1]), used[:2], 6)) == 2


def test_the_worst_frames_are_apart():
    residual = np.zeros((50, 2))
    residual[20], residual[21, 1], residual[40, 0], residual[3, 1] = 5, 9, 7, np.nan
    assert worst_frames(residual, 2, 5) == [(21, 1), (40, 0)]
    assert worst_frames(np.full((4, 2), np.nan), 2, 5) == []
    assert worst_frames(np.zeros((0, 2)), 2, 5) == []


def test_the_box_holds_the_hands_and_has_the_shape_of_the_image(rng):
    size = np.array([640, 480])
    uv = rng.uniform([300, 100], [400, 180], (200, 2))
    uv[3] = np.nan
    x0, y0, x1, y1 = hands_box(uv, size)
    assert x0 < 300
    assert x1 > 400
    assert y0 < 100
    assert y1 > 180
    assert (x1 - x0) * 480 == pytest.approx((y1 - y0) * 640, rel=0.02)
    assert hands_box(np.full((3, 2), np.nan), size) == (0, 0, 640, 480)
    assert hands_box(rng.uniform([-50, -50], [700, 500], (300, 2)), size) == (0, 0, 640, 480)


def test_reprojection_is_the_distance_in_the_image(rng):
    rig = dome_rig(3)
    points = rng.uniform(-0.05, 0.05, (2, 2, 21, 3))
    uv = project(rig, points)
    assert uv.shape == (3, 2, 2, 21, 2)
    assert reprojection_px(uv, uv + [3, 4]) == pytest.approx(5, rel=1e-5)
    assert np.isnan(project(rig, np.full((1, 3), np.nan))).all()
