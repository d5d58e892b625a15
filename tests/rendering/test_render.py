"""What the synthetic cameras show is where the projection says it is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from handpipe.core.cameras import Cameras
from handpipe.core.hands import MANO_TIP_VERTEX
from handpipe.hand.procedural import procedural_hand
from handpipe.rendering.render import board_texture, light_hands, pixel_rays, render_board, render_hands, room
from handpipe.rendering.rig import board_motion, dome_rig
from handpipe.rendering.skin import _loop_subdivision, hand_skin

SIZE = (640, 512)
BOARD = (7, 5, 0.04, 0.03, "DICT_4X4_50")


@pytest.fixture(scope="module")
def rig() -> Cameras:
    return dome_rig()


@pytest.fixture(scope="module")
def black() -> np.ndarray:
    return np.zeros((SIZE[1], SIZE[0], 3), np.uint8)


def hands_in_the_world() -> np.ndarray:
    """(2, 778, 3): both hands upright, side by side, palms toward +y."""
    up = np.array([[0.0, 0.0, 1.0], [0.0, -1.0, 0.0], [-1.0, 0.0, 0.0]])
    right = procedural_hand("right")["v_template"] @ up.T + [0.09, 0.0, 0.0]
    left = procedural_hand("left")["v_template"] @ (up * [-1.0, 1.0, -1.0]).T + [-0.09, 0.0, 0.0]
    return np.stack([left, right])


@pytest.fixture(scope="module")
def skins():
    return [hand_skin(procedural_hand(side), side) for side in ("left", "right")]


# ---- rig ---------------------------------------------------------------------------------------------------------


def test_rig_looks_at_the_hands_and_is_not_perfect(rig):
    assert rig.names[:3] == ("c0", "c1", "c2")
    assert len(rig) == 50
    distance = np.linalg.norm(rig.centers_m, axis=1)
    assert distance.min() > 0.7
    assert distance.max() < 0.9
    origin = rig.project(np.zeros(3))
    assert np.abs(origin - np.array(SIZE) / 2).max() < 50
    focal = rig.K[:, 0, 0]
    assert 1.01 < focal.max() / focal.min() < 1.04
    assert (rig.distortion[:, 0] < -0.05).all()
    R = rig.T_cam_world[:, :3, :3]
    np.testing.assert_allclose(R @ R.transpose(0, 2, 1), np.tile(np.eye(3), (50, 1, 1)), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(R), 1)
    up = rig.project(np.array([[0.0, 0.0, 0.05], [0.0, 0.0, -0.05]]))
    assert (up[:, 0, 1] < up[:, 1, 1]).all(), "the world's up is up in the pictures"


@pytest.mark.parametrize("views", [1, 4, 50])
def test_hands_are_inside_the_pictures(views):
    rig = dome_rig(views)
    uv = rig.project(hands_in_the_world() - hands_in_the_world().mean((0, 1)))
    inside = ((uv > 0) & (uv < np.array(SIZE))).all(-1)
    assert inside.mean() > 0.97


@pytest.mark.parametrize("seed", [0, 3])
def test_every_camera_sees_the_board_often_and_shares_it(rig, seed):
    corners = np.array([[0.04 * x, 0.04 * y, 0.0] for x in range(1, 7) for y in range(1, 5)])
    T = board_motion(120, (0.28, 0.20), seed)
    world = np.einsum("fij,nj->fni", T[:, :3, :3], corners) + T[:, None, :3, 3]
    uv = rig.project(world)
    inside = ((uv > 4) & (uv < np.array(SIZE) - 5)).all(-1).mean(-1) > 0.6
    sight = world.mean(1) - rig.centers_m[:, None]
    cosine = np.einsum("vfi,fi->vf", sight, T[:, :3, 2]) / np.linalg.norm(sight, axis=-1)
    good = inside & (cosine > np.cos(np.deg2rad(60)))
    assert good.sum(1).min() >= 10
    shared = good.astype(int) @ good.T.astype(int)
    reached = {0}
    for _ in range(50):
        reached |= {int(j) for i in reached for j in np.flatnonzero(shared[i] >= 8)}
    assert len(reached) == 50, "views that share eight frames do not connect the rig"


# ---- hands -------------------------------------------------------------------------------------------------------


def test_loop_subdivision_keeps_planes_and_counts():
    """Weights sum to one and reproduce linear functions away from the border (a naive check on a closed octahedron)."""
    v = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], float)
    f = np.array([[0, 2, 4], [2, 1, 4], [1, 3, 4], [3, 0, 4], [2, 0, 5], [1, 2, 5], [3, 1, 5], [0, 3, 5]])
    matrix, faces, count = _loop_subdivision(f, 6)
    assert count == 6 + 12
    assert faces.shape == (32, 3)
    np.testing.assert_allclose(matrix.sum(axis=1), 1)
    new = matrix @ v
    # Valence 4: beta = 3/32, so (1, 0, 0) shrinks to 1 - 4 * 3/32 = 0.625; an edge middle is 3/8 (a + b) + 1/8 (c + d).
    np.testing.assert_allclose(new[0], [0.625, 0, 0])
    assert {tuple(np.round(p, 6)) for p in new[6:]} >= {(0.375, 0.375, 0.0), (0.0, 0.375, 0.375)}


def test_picture_of_the_hands_is_where_the_projection_says(rig, black, skins):
    vertices = hands_in_the_world()
    vertices = vertices - vertices.mean((0, 1))
    hands = light_hands(skins, vertices)
    for view in (3, 17, 40):
        camera = rig.subset([view])
        image = render_hands(camera, hands, black, seed=0)
        seen = image.max(-1) > 8
        # A convex-hull-free outline: every pixel of the mesh's projected triangles, painted without depth.
        expected = np.zeros(black.shape[:2], np.uint8)
        uv = camera.project(hands.vertices_m.astype(float))[0]
        for triangle in np.round(uv[hands.faces] * 16).astype(np.int32):
            cv2.fillConvexPoly(expected, triangle, 1, shift=4)
        expected = expected.astype(bool)
        overlap = (seen & expected).sum() / (seen | expected).sum()
        assert overlap > 0.97
        centroid = [np.array(np.nonzero(mask)).mean(1) for mask in (seen, expected)]
        assert np.abs(centroid[0] - centroid[1]).max() < 0.3


def test_nearer_hand_hides_the_farther(rig, black, skins):
    vertices = hands_in_the_world()
    vertices -= vertices.mean(axis=1, keepdims=True)
    camera = rig.subset([20])
    toward = camera.centers_m[0] / np.linalg.norm(camera.centers_m[0])
    nothing = vertices[1] + 100.0 * -toward
    alone = render_hands(camera, light_hands(skins, np.stack([vertices[0] + 0.1 * toward, nothing])), black, 0)
    both = render_hands(camera, light_hands(skins, np.stack([vertices[0] + 0.1 * toward, vertices[1]])), black, 0)
    inner = cv2.erode((alone.max(-1) > 25).astype(np.uint8), np.ones((9, 9))).astype(bool)
    assert inner.sum() > 2000
    changed = np.abs(both[inner].astype(int) - alone[inner]).max(-1)
    assert np.mean(changed > 12) < 0.05  # all but a little of the contact shadow


def test_lens_bends_the_picture_of_the_hands(rig, black, skins):
    """With another k1 the picture of a fingertip moves exactly as far as the projection of its vertex."""
    vertices = hands_in_the_world()
    vertices = vertices - vertices[1, MANO_TIP_VERTEX[2]] + [0.0, 0.0, 0.17]
    hands = light_hands(skins, vertices)
    camera = rig.subset([2])
    straight = Cameras(camera.names, camera.K, 0 * camera.distortion, camera.T_cam_world, camera.size_px)
    top = []
    for c in (camera, straight):
        rows = np.flatnonzero((render_hands(c, hands, black, 0).max(-1) > 25).any(axis=1))
        top.append(rows.min())
    expected = [c.project(hands.vertices_m.astype(float))[0, :, 1].min() for c in (camera, straight)]
    assert top[0] - top[1] == pytest.approx(expected[0] - expected[1], abs=1.2)
    assert abs(expected[0] - expected[1]) > 2


def test_pictures_are_the_same_bits_again(rig, skins):
    hands = light_hands(skins, hands_in_the_world())
    background = room(SIZE, 4)
    first, again, other = (render_hands(rig.subset([5]), hands, background, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert first.dtype == np.uint8
    assert first.shape == (512, 640, 3)


# ---- board -------------------------------------------------------------------------------------------------------


def test_rays_come_back_to_their_pixels(rig):
    camera = rig.subset([9])
    rays = pixel_rays(camera)
    for x, y in ((0, 0), (639, 511), (320, 100)):
        point_cam = np.array([*rays[y, x], 1.0])
        R, t = camera.T_cam_world[0, :3, :3], camera.T_cam_world[0, :3, 3]
        np.testing.assert_allclose(camera.project(R.T @ (point_cam - t))[0], [x, y], atol=1e-4)


@pytest.fixture(scope="module")
def texture():
    return board_texture(*BOARD)


def test_opencv_finds_the_boards_corners_where_they_are(rig, texture):
    columns, rows, square, marker, name = BOARD
    words = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, name))
    board = cv2.aruco.CharucoBoard((columns, rows), square, marker, words)
    detector = cv2.aruco.CharucoDetector(board)
    truth_m = np.asarray(board.getChessboardCorners())
    poses = board_motion(120, texture.size_m)
    errors, offsets = [], []
    for view in (4, 21, 38):
        camera = rig.subset([view])
        rays, background = pixel_rays(camera), room(SIZE, view)
        for frame in range(0, 120, 6):
            T = poses[frame]
            corners, ids, _, _ = detector.detectBoard(render_board(camera, rays, T, texture, background, frame))
            if corners is None or len(corners) < 6:
                continue
            uv = camera.project(truth_m @ T[:3, :3].T + T[:3, 3])[0][ids.ravel()]
            errors.append(np.linalg.norm(corners.reshape(-1, 2) - uv, axis=1))
            offsets.append(corners.reshape(-1, 2) - uv)
    assert len(errors) > 12
    assert np.median(np.concatenate(errors)) < 0.06
    assert np.abs(np.median(np.concatenate(offsets), axis=0)).max() < 0.02, "a sub-pixel shift of the whole picture"


def test_back_of_the_board_is_plain(rig, texture):
    camera = rig.subset([30])
    T = np.eye(4)
    z = camera.centers_m[0] / np.linalg.norm(camera.centers_m[0])  # the board's z goes into it: this is its back
    x = np.cross([0.0, 0.0, 1.0], z)
    x /= np.linalg.norm(x)
    T[:3, :3] = np.stack([x, np.cross(z, x), z], axis=1)
    T[:3, 3] = -T[:3, :2] @ (0.5 * np.array(texture.size_m))
    image = render_board(camera, pixel_rays(camera), T, texture, np.zeros((512, 640, 3), np.uint8), 0)
    middle = image[200:300, 270:370].astype(float)
    assert 60 < middle.mean() < 120
    assert middle.std() < 4


def test_board_outside_the_picture_leaves_the_room(rig, texture):
    camera = rig.subset([30])
    T = np.eye(4)
    T[:3, 3] = camera.centers_m[0] * 2  # behind the camera
    background = room(SIZE, 1)
    image = render_board(camera, pixel_rays(camera), T, texture, background, 0)
    assert np.abs(image.astype(int) - cv2.GaussianBlur(background, (0, 0), 0.55)).max() < 15
