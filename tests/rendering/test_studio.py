"""The studio's cameras, and hands drawn over images."""

from __future__ import annotations

import numpy as np
import pytest
from stored_motions import MODELS, clip

from handpipe.core.cameras import Cameras
from handpipe.rendering.moving_hands import MovingHands, own_axes
from handpipe.rendering.over_image import draw_over, lamps, through
from handpipe.rendering.rig import dome_rig
from handpipe.rendering.studio import around, orbit


@pytest.fixture(scope="module")
def hands() -> MovingHands:
    arrays = clip(8)
    pose = {name: arrays[name].astype(float) for name in ("global_orient", "hand_pose", "transl")}
    return MovingHands((MODELS[0], MODELS[1]), arrays["betas"].astype(float), pose, arrays["valid"], np.arange(8), 30.0)


def test_every_camera_of_the_orbit_sees_everything_and_one_is_filled(hands):
    points = around(hands.joints_m)
    cameras = orbit(points, (320, 240), np.arange(0, 360, 30.0), 35.0)
    uv = cameras.project(points)
    assert (uv > -0.5).all()
    assert (uv < [319.5, 239.5]).all()
    reach = np.abs(2 * (uv + 0.5) / [320, 240] - 1).max()
    assert reach > 0.9
    centers = cameras.centers_m - 0.5 * (points.min(axis=0) + points.max(axis=0))
    np.testing.assert_allclose(np.linalg.norm(centers, axis=1), np.linalg.norm(centers[0]))
    np.testing.assert_allclose(np.degrees(np.arcsin(centers[:, 2] / np.linalg.norm(centers, axis=1))), 35)


def test_the_person_sees_the_left_hand_on_the_left(hands):
    up = np.array([0.0, 0.0, 1.0])
    for given in (None, up):
        R = own_axes(hands, given)
        np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(R) == pytest.approx(1)
        wrists = (hands.joints_m @ R.T)[:, :, 0].mean(axis=0)
        assert wrists[0, 0] < wrists[1, 0]
    np.testing.assert_allclose(own_axes(hands, up)[2], up)


def test_a_part_of_an_image_is_seen_by_its_own_camera(rng):
    camera = dome_rig(4).subset([1])
    points = rng.normal(0, 0.08, (40, 3))
    part = through(camera, (100, 50, 420, 290), (640, 480))
    np.testing.assert_allclose(part.project(points), (camera.project(points) - [100, 50] + 0.5) * 2 - 0.5, atol=1e-9)


@pytest.mark.parametrize("scale", [1.0, 20.0])
def test_distance_does_not_matter(hands, scale):
    """A world that is as many times larger gives the same picture, beyond the renderer's range of depth, too."""
    camera = dome_rig(4).subset([2])
    image = np.full((512, 640, 3), 90, np.uint8)
    R = own_axes(hands, None)
    near = hands.lit(0, R, lamps(camera))
    assert near is not None
    near = type(near)(
        near.vertices_m - near.vertices_m.mean(axis=0), near.normals, near.faces, near.color, near.gloss, near.light
    )
    far = type(near)(scale * near.vertices_m, near.normals, near.faces, near.color, near.gloss, near.light)
    T = camera.T_cam_world.copy()
    T[:, :3, 3] *= scale
    distant = Cameras(camera.names, camera.K, camera.distortion, T, camera.size_px)
    a, b = draw_over(image, camera, near, 1.0).astype(int), draw_over(image, distant, far, 1.0).astype(int)
    assert (np.abs(a - 90).max(axis=-1) > 5).sum() > 2000
    assert np.abs(a - b).mean() < 1


def test_edges_are_smooth_and_opacity_mixes(hands):
    camera = dome_rig(4).subset([2])
    lit = hands.lit(0, own_axes(hands, None), lamps(camera))
    assert lit is not None
    lit = type(lit)(
        lit.vertices_m - lit.vertices_m.mean(axis=0), lit.normals, lit.faces, lit.color, lit.gloss, lit.light
    )
    black = np.zeros((512, 640, 3), np.uint8)
    whole, half = (draw_over(black, camera, lit, opacity).astype(int) for opacity in (1.0, 0.5))
    assert np.abs(whole - 2 * half).max() <= 2
    np.testing.assert_array_equal(draw_over(black, camera, lit, 0.0), black)
    assert not black.any(), "the image itself is left as it is"
