"""Rendered crops for training a detector: exact labels, upright hands, and nothing that depends on the order."""

from __future__ import annotations

import numpy as np
import pytest

from handpipe.capture.learning.crops import STORED_PX, STORED_SCALE, Crop
from handpipe.core.hands import JOINTS, TIPS
from handpipe.rendering.hand_crops import _camera, draw_moment, render_crops
from handpipe.rendering.render import FAR_M, draw

WRIST, MIDDLE = JOINTS.index("wrist"), JOINTS.index("middle_mcp")


@pytest.fixture(scope="module")
def crops() -> list[Crop]:
    return [crop for moment in range(2) for crop in render_crops(None, 3, moment)]


def test_the_same_number_is_the_same_crop(crops):
    again = render_crops(None, 3, 1)
    assert len(again) < len(crops)
    for one, other in zip(crops[-len(again) :], again, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.own_px, other.own_px)
    assert not np.array_equal(crops[0].image, render_crops(None, 4, 0)[0].image)


def test_hands_are_upright_in_the_middle_as_in_crops_of_sessions(crops):
    for crop in crops:
        assert crop.image.shape == (STORED_PX, STORED_PX, 3)
        low, high = crop.own_px.min(0), crop.own_px.max(0)
        np.testing.assert_allclose(0.5 * (low + high), (STORED_PX - 1) / 2, atol=0.1)
        assert (high - low).max() == pytest.approx(STORED_PX / STORED_SCALE, abs=0.1)
        up = crop.own_px[MIDDLE] - crop.own_px[WRIST]
        assert abs(up[0]) < 1e-3 * abs(up[1])
        assert up[1] < 0


def test_labels_lie_on_the_rendered_hand():
    rng = np.random.default_rng(5)
    moment = draw_moment(None, rng)
    hand = moment.scene.hands[0]
    camera = _camera(moment.joints_m[hand], rng)
    _, depth = draw(camera, moment.layers[0], np.zeros((STORED_PX, STORED_PX, 3), np.float32))
    x, y = np.round(camera.project(moment.joints_m[hand])[0]).astype(int).T
    assert (np.delete(depth[y, x], TIPS) < 0.9 * FAR_M).all(), "joints are inside the hand, fingertips at its edge"


def test_hands_keep_apart_and_differ():
    moments = [draw_moment(None, np.random.default_rng(i)) for i in range(12)]
    for moment in moments:
        left, right = moment.joints_m
        assert np.linalg.norm(left[:, None] - right[None], axis=-1).min() > 0.005
    palms = [np.linalg.norm(m.joints_m[0, MIDDLE] - m.joints_m[0, WRIST]) for m in moments]
    assert np.ptp(palms) > 0.005
