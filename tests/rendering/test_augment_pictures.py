"""Drawn scenes and their pictures, against rays and by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handpipe.core.cameras import Cameras
from handpipe.core.hands import HANDS
from handpipe.hand.model import HandModel
from handpipe.hand.procedural import procedural_hand
from handpipe.rendering.augment_pictures import CURVE, _primitive, backdrop, light_of, take_picture, things_at
from handpipe.rendering.render import FAR_M, STUDIO, LitHands
from handpipe.rendering.rig import look_at
from handpipe.rendering.scenes import (
    Film,
    Scene,
    Thing,
    draw_cameras,
    draw_scene,
    palm_frames,
    random_rotation,
    visibility,
)
from handpipe.rendering.skin import SKIN_BGR, hand_skin

FILM = Film(blur_px=0.5, gain=0.0, quality=90)
ZERO = np.zeros(3)
PALMS = np.broadcast_to(np.eye(3), (4, 2, 3, 3))


def camera(size: int = 128) -> Cameras:
    K = np.array([[[size, 0, (size - 1) / 2], [0, size, (size - 1) / 2], [0, 0, 1.0]]])
    return Cameras(("v0",), K, np.zeros((1, 5)), look_at(np.array([0, -1.0, 0]), ZERO)[None], np.array([[size, size]]))


def ball(middle: np.ndarray, radius: float) -> LitHands:
    v, n, faces = _primitive("ball")
    white = np.ones_like(v, dtype=np.float32)
    return LitHands((v * radius + middle).astype(np.float32), n, faces, white, white[:, 0] * 0, STUDIO)


def traced(middle: np.ndarray, radius: float, size: int = 128) -> np.ndarray:
    """(size, size) depth of a ball by the formula of a ray and a sphere; FAR_M where it misses."""
    x = (np.arange(size) - (size - 1) / 2) / size
    ray = np.stack([*np.meshgrid(x, x), np.ones((size, size))], axis=-1)
    m = np.array([middle[0], -middle[2], middle[1] + 1])  # the camera stands at y = -1 and looks along +y
    a, b, c = (ray**2).sum(-1), ray @ m, m @ m - radius**2
    root = b**2 - a * c
    return np.where(root > 0, (b - np.sqrt(np.maximum(root, 0))) / a, FAR_M)


def test_depth_masks_and_hidden_shares_are_those_of_ray_tracing():
    near, far = (np.array([0.05, -0.1, 0.02]), 0.12), (np.array([-0.06, 0.2, 0.0]), 0.2)
    layers = [(1, ball(*near)), (2, ball(*far))]
    picture = take_picture(camera(), layers, np.zeros((128, 128, 3), np.float32), FILM, 0)
    first, second = traced(*near), traced(*far)
    truth = np.where(first < second, 1, np.where(second < FAR_M, 2, 0))
    assert np.mean(picture.mask != truth) < 0.012  # the outline of a ball of flat faces
    inner = (picture.mask == truth) & (truth > 0)
    error = picture.depth_m[inner] - np.minimum(first, second)[inner]
    assert np.percentile(np.abs(error), 95) < 0.01
    assert (picture.depth_m[picture.mask == 0] == FAR_M).all()
    hidden = np.mean(first[second < FAR_M] < FAR_M)
    assert 0.1 < hidden < 0.5
    np.testing.assert_allclose(picture.seen, np.array([1, 1 - hidden]), atol=0.02)
    for box, depth in zip(picture.box, (first, second), strict=True):
        x, y = np.flatnonzero((depth < FAR_M).any(0)), np.flatnonzero((depth < FAR_M).any(1))
        np.testing.assert_allclose(box, [x[0], y[0], x[-1], y[-1]], atol=1)
    swapped = take_picture(camera(), layers[::-1], np.zeros((128, 128, 3), np.float32), FILM, 0)
    np.testing.assert_array_equal(swapped.mask, picture.mask)
    np.testing.assert_array_equal(swapped.image, picture.image)


def test_what_is_outside_the_picture_leaves_no_trace():
    background = np.full((128, 128, 3), 0.5, np.float32)
    layers = [(1, ball(np.array([2.0, 0.0, 0.0]), 0.1))]
    picture = take_picture(camera(), layers, background, FILM, 0)
    assert not picture.mask.any()
    assert np.isnan(picture.box).all()
    assert np.isnan(picture.seen).all()
    assert np.ptp(picture.image) == 0


@pytest.mark.parametrize("kind", ["ball", "box", "tube"])
def test_things_are_closed_and_turned_outward(kind):
    v, n, faces = _primitive(kind)
    corner = v[faces]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    outward = np.einsum("fi,fi->f", normal, corner.mean(axis=1))
    assert outward.min() >= 0
    assert (np.einsum("fi,fci->fc", normal, n[faces])[outward > 1e-9] > 0).all()
    # The divergence theorem: the volume within -1 to 1 is the ball's, the box's, the tube's, a little less if curved.
    volume = np.einsum("fi,fi->f", corner[:, 0], np.cross(corner[:, 1], corner[:, 2])).sum() / 6
    assert volume == pytest.approx({"ball": 4 / 3 * np.pi, "box": 8, "tube": 2 * np.pi}[kind], rel=0.05)


@pytest.mark.parametrize("hand", [0, 1])
def test_palm_frame_points_to_the_fingers_and_out_of_the_back(hand):
    """The template lies with its palm facing -y; the right one's fingers along -x, the left one's along +x."""
    model = HandModel.procedural(HANDS[hand])
    joints = model.joints(np.zeros(10), ZERO, np.zeros(45), ZERO)
    R, middle = palm_frames(joints, hand)
    assert R[:, 0] @ [1.0 if hand == 0 else -1.0, 0, 0] > 0.95
    assert R[1, 1] > 0.95
    np.testing.assert_allclose(R.T @ R, np.eye(3), atol=1e-12)
    assert np.linalg.det(R) == pytest.approx(1)
    assert np.linalg.norm(middle - 0.5 * (joints[0] + joints[9])) < 1e-12


def test_held_things_move_with_the_hand():
    thing = Thing(1, "box", np.full(3, 0.02), np.eye(3), np.array([0.0, -0.05, 0.0]), np.full(3, 0.5), 0.1)
    scene = draw_scene(np.random.default_rng(0), 0.0, 0.0, 0.5)
    scene = Scene(scene.betas_delta, scene.tone_bgr, scene.hands, scene.lamps, (thing,), scene.arm)
    model, light = HandModel.procedural("right"), light_of(scene.lamps)
    rest = model.joints(np.zeros(10), ZERO, np.zeros(45), ZERO)
    R, t = random_rotation(np.random.default_rng(1)), np.array([0.3, -0.2, 0.1])
    a, b = (things_at(scene, np.stack([rest, joints]), light)[0][1] for joints in (rest, rest @ R.T + t))
    np.testing.assert_allclose(b.vertices_m, a.vertices_m @ R.T + t, atol=1e-6)
    assert a.vertices_m.mean(axis=0)[1] < rest[9, 1] - 0.03, "before the palm"


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_cameras_see_the_whole_path(seed):
    rng = np.random.default_rng(seed)
    joints = rng.uniform(0.01, 0.4) * rng.normal(0, 1, (4, 2, 21, 3)).clip(-2, 2) + rng.normal(0, 1, 3)
    cameras = draw_cameras(rng, joints, PALMS, ["v0", "v1"], (200, 120), rng.uniform())
    straight = Cameras(cameras.names, cameras.K, 0 * cameras.distortion, cameras.T_cam_world, cameras.size_px)
    uv = straight.project(joints).reshape(2, -1, 2)
    assert ((uv > -3) & (uv < [203, 123])).all()
    assert (np.ptp(uv, axis=1) / [200, 120]).max(axis=1).min() > 0.12, "they are far away"
    R = cameras.T_cam_world[:, :3, :3]
    np.testing.assert_allclose(R @ R.transpose(0, 2, 1), np.tile(np.eye(3), (2, 1, 1)), atol=1e-9)


def test_cameras_face_the_palms_where_asked():
    """Both palms look along y: such cameras stand near that axis, the others anywhere."""
    joints = np.random.default_rng(0).normal(0, 0.05, (4, 2, 21, 3))
    names = [f"v{i}" for i in range(60)]
    for facing in (0.0, 1.0):
        cameras = draw_cameras(np.random.default_rng(1), joints, PALMS, names, (64, 64), facing)
        sight = cameras.T_cam_world[:, 2, :3]
        faced = (np.abs(sight[:, 1]) > 0.4) & (np.abs(sight[:, 0]) < 0.8)  # `aside` turns them a little
        assert faced.all() if facing else faced.mean() < 0.8


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_scenes_depend_on_the_seed_alone_and_are_within_bounds(seed):
    one, again = (draw_scene(np.random.default_rng(seed), 0.3, 0.5, 0.7) for _ in range(2))
    np.testing.assert_array_equal(one.betas_delta, again.betas_delta)
    np.testing.assert_array_equal(one.lamps.key_bgr, again.lamps.key_bgr)
    assert one.hands == again.hands
    assert ((one.tone_bgr >= 0.05) & (one.tone_bgr <= 1)).all()
    assert one.tone_bgr[2] > one.tone_bgr[0], "skin is redder than blue"
    assert (one.lamps.ambient_bgr > 0).all()
    assert all(thing.hand in one.hands for thing in one.things)


def test_probabilities_of_a_scene_are_what_was_asked():
    scenes = [draw_scene(np.random.default_rng(seed), 0.25, 0.4, 0.7) for seed in range(800)]
    assert np.mean([len(scene.hands) == 1 for scene in scenes]) == pytest.approx(0.25, abs=0.05)
    assert np.mean([len(scene.things) > 0 for scene in scenes]) == pytest.approx(0.4, abs=0.06)
    assert np.std([scene.betas_delta for scene in scenes]) == pytest.approx(0.7, abs=0.05)


def test_visibility_by_hand():
    """Five joints: seen, behind another hand, too deep in the own hand, in the room, outside."""
    mask, depth = np.zeros((10, 10), np.uint8), np.full((10, 10), FAR_M)
    mask[2, 1:4] = 1, 2, 1
    depth[2, 1:4] = 0.99, 0.90, 0.90
    uv, joints = np.full((21, 2), -5.0), np.tile([0.0, 0.0, 1.0], (21, 1))
    joints[9, 0] = 0.095  # a hand of usual size
    uv[5:10] = [1, 2], [2, 2], [3, 2], [7, 7], [10, 2]
    assert visibility(uv, joints, 1, mask, depth)[5:10].tolist() == [2, 1, 1, 1, 0]
    assert visibility(uv, joints, 2, mask, depth)[5:10].tolist() == [1, 1, 1, 1, 0]
    depth[2, 2] = 0.99
    assert visibility(uv, joints, 2, mask, depth)[6] == 2
    mask[2, 1] = 4
    assert visibility(uv, joints, 1, mask, depth)[5] == 2, "the skin about it is its own arm's"
    assert visibility(uv, joints, 2, mask, depth)[5] == 1
    mask[2, 1], depth[2, 1] = 4, 0.9
    assert visibility(uv, joints, 1, mask, depth)[5] == 1, "its own arm is far before it"


def test_dark_skin_has_a_lighter_palm():
    skin = hand_skin(procedural_hand("right"), "right", 1)
    np.testing.assert_allclose(skin.toned(SKIN_BGR).albedo, skin.albedo, atol=1e-6)
    dark = skin.toned(0.3 * SKIN_BGR).albedo / np.maximum(skin.albedo, 1e-3)
    palm, back = dark[skin.pale > 0.9].mean(), dark[skin.pale < 0.1].mean()
    assert back == pytest.approx(0.3, abs=0.01)
    assert palm > 1.3 * back


def test_shadows_are_shown_brighter_by_the_cameras_response():
    light = light_of(draw_scene(np.random.default_rng(0), 0.0, 0.0, 0.5).lamps)
    normals = random_rotation(np.random.default_rng(1)).astype(np.float32)
    linear = replace(light, curve=1.0).shade(normals, np.zeros(3, np.float32))
    np.testing.assert_allclose(light.shade(normals, np.zeros(3, np.float32)), linear**CURVE, rtol=1e-6)


def test_backdrops_differ_and_repeat():
    rooms = [backdrop(np.random.default_rng(seed), (64, 48), np.ones(3)) for seed in (0, 0, 1, 2)]
    np.testing.assert_array_equal(rooms[0], rooms[1])
    assert rooms[0].shape == (48, 64, 3)
    assert all(room.min() >= 0 and room.max() <= 1 for room in rooms)
    assert np.abs(rooms[2] - rooms[3]).mean() > 0.02
