"""A first guess for the bundle adjustment: lenses one by one, board poses, then cameras along the co-visibility graph.

aniposelib's `get_initial_extrinsics` walks the same graph and is as accurate on clean recordings, but it trusts every
pair of cameras: one clip out of step, or one camera without a shared board, ends in an exception. Here a pair is placed
by the one frame whose hypothesis explains most of the others, and a pair without agreement is not connected.
"""

# Ring 2: reads and writes.

from __future__ import annotations

from itertools import product

import cv2
import numpy as np
from numpy import ndarray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree

from ..core.cameras import undistort_normalised
from ..core.fisheye import undistort_fisheye
from . import bundle
from .board import MIN_CORNERS

LENS_FRAMES = 30
"""Frames for one view's first lens: more add time, not information, before the joint adjustment."""
MIN_LENS_FRAMES = 3
"""Fewer do not tell a focal length from a distance."""
FISHEYE_FOCALS = np.geomspace(0.12, 2.5, 22)
"""Focal lengths that are tried for a fisheye, in widths of the image: 180 degrees across it are 0.32."""
SQUARE_PIXELS = 0.001
"""How closely fx and fy agree in the first guess."""
PAIR_FRAMES = 25
"""Shared frames that vote on the pose between two cameras."""
VOTE_ANGLE_RAD = np.deg2rad(2.0)
"""A frame agrees when no corner is seen further than this from where the hypothesis puts it."""


def spread_frames(corners_px: ndarray, usable: ndarray, size_px: ndarray, count: int) -> ndarray:
    """Up to `count` frames in which one view saw the board most differently, most different first.

    Farthest-point sampling of where the board is, how large it looks and how it is sheared; starts from the sighting
    with most corners, so nothing is drawn by chance.

    Args:
        corners_px: (frame, corner, 2) one view.
        usable: (frame,) bool.
    """
    frames = np.nonzero(usable)[0]
    if len(frames) == 0:
        return frames
    feature = sighting_features(corners_px[frames], size_px)
    chosen = [int(np.isfinite(corners_px[frames, :, 0]).sum(1).argmax())]
    distance = np.full(len(frames), np.inf)
    while len(chosen) < min(count, len(frames)):
        distance = np.minimum(distance, np.linalg.norm(feature - feature[chosen[-1]], axis=1))
        distance[chosen] = -1
        chosen.append(int(distance.argmax()))
    return frames[chosen]


def sighting_features(corners_px: ndarray, size_px: ndarray) -> ndarray:
    """(frame, 5) where the board is in a view's image, how large it looks and how it is sheared, in image sizes."""
    uv = corners_px / size_px
    spread = np.sqrt(np.nanvar(uv, axis=1))
    centred = uv - np.nanmean(uv, axis=1, keepdims=True)
    shear = np.nanmean(centred[..., 0] * centred[..., 1], axis=1) / np.maximum(spread.prod(-1), 1e-9)
    return np.column_stack([np.nanmean(uv, axis=1), 2 * spread, 0.5 * shear])


def slow_sightings(corners_px: ndarray, usable: ndarray, enough: int) -> ndarray:
    """(frame,) bool: the half of one view's sightings in which the board moved least; all of them up to `enough`.

    What moves is blurred, is bent by a rolling shutter and is seen at another place by a camera that fires later. The
    path of the corners between neighbouring frames says how fast it was; alone in time, a sighting counts as fast.

    Args:
        corners_px: (frame, corner, 2).
        usable: (frame,) bool.
        enough: sightings that are few enough to keep all.
    """
    if usable.sum() <= enough:
        return usable
    step = np.linalg.norm(np.diff(corners_px, axis=0), axis=-1)
    seen = np.isfinite(step)
    step_px = np.where(seen.any(1), np.where(seen, step, 0).sum(1) / np.maximum(seen.sum(1), 1), np.inf)
    speed = np.minimum(np.append(step_px, np.inf), np.insert(step_px, 0, np.inf))
    return usable & (speed <= np.median(speed[usable]))


def first_lens(corners_m: ndarray, corners_px: ndarray, usable: ndarray, size_px: ndarray) -> ndarray | None:
    """(9,) focal length and k1 of one view, the rest of the lens neutral; None where its sightings do not tell.

    The principal point and the other coefficients are left to the joint adjustment: from one view alone they trade
    against the board's pose. Not `cv2.calibrateCamera`, whose threads make the last digits a matter of chance.

    Source: Zhang, A flexible new technique for camera calibration (2000), for the closed form.
    """
    full = usable & (np.isfinite(corners_px[..., 0]).sum(-1) >= 6)
    corners_px = corners_px[spread_frames(corners_px, full, size_px, LENS_FRAMES)]
    if len(corners_px) < MIN_LENS_FRAMES:
        return None
    seen = np.isfinite(corners_px[..., 0])
    objects = [corners_m[s].astype(np.float32) for s in seen]
    images = [uv[s].astype(np.float32) for uv, s in zip(corners_px, seen, strict=True)]
    width, height = (int(s) for s in size_px)
    focal = cv2.initCameraMatrix2D(objects, images, (width, height), 1.0)[0, 0]
    if not 0.2 * width < focal < 10 * width:
        return None
    lens = neutral_lens(focal, size_px)
    poses = board_poses(lens, corners_m, corners_px, np.ones(len(corners_px), bool))[:, 0]
    placed = np.isfinite(poses[:, 0, 0])
    if placed.sum() < MIN_LENS_FRAMES:
        return None
    lens = _refined_lens(lens, corners_m, corners_px[placed], poses[placed])
    return lens if 0.2 * width < lens[0] < 10 * width and abs(lens[4]) < 1 else None


def first_fisheye(corners_m: ndarray, corners_px: ndarray, usable: ndarray, size_px: ndarray) -> ndarray | None:
    """The same of a fisheye: of equidistant lenses of many focal lengths the one that bends the board least.

    Not `cv2.fisheye.calibrate`, which ends in an exception where one sighting is nearly flat on.
    """
    full = usable & (np.isfinite(corners_px[..., 0]).sum(-1) >= 6)
    corners_px = corners_px[spread_frames(corners_px, full, size_px, LENS_FRAMES)]
    if len(corners_px) < MIN_LENS_FRAMES:
        return None
    sightings = bundle.Sightings.from_grid(corners_px[None])
    best, least = None, np.inf
    for relative in FISHEYE_FOCALS:
        lens = neutral_lens(relative * size_px[0], size_px)
        poses = board_poses(lens, corners_m, corners_px, np.ones(len(corners_px), bool), fisheye=True)[:, 0]
        scene = bundle.RigEstimate(lens[None], np.eye(4)[None], poses, fisheye=True)
        off_px = np.linalg.norm(bundle.project(scene, sightings, corners_m) - corners_px, axis=-1)
        # A corner that the lens cannot have seen is as far off as can be.
        off_px = np.where(np.isnan(off_px) & np.isfinite(corners_px[..., 0]), np.inf, off_px)
        error = float(np.median([np.nanmedian(sighting) for sighting in off_px]))
        if error < least:
            best, least = (lens, poses), error
    if best is None:
        return None
    lens, poses = best
    placed = np.isfinite(poses[:, 0, 0])
    if placed.sum() < MIN_LENS_FRAMES:
        return None
    lens = _refined_lens(lens, corners_m, corners_px[placed], poses[placed], fisheye=True)
    return lens if FISHEYE_FOCALS[0] < lens[0] / size_px[0] < FISHEYE_FOCALS[-1] and abs(lens[4]) < 1 else None


def neutral_lens(focal_px: float, size_px: ndarray) -> ndarray:
    """(9,) a lens without distortion, centred on the image."""
    width, height = (float(s) for s in size_px)
    return np.array([focal_px, focal_px, (width - 1) / 2, (height - 1) / 2, 0, 0, 0, 0, 0])


def _refined_lens(
    lens: ndarray, corners_m: ndarray, corners_px: ndarray, T_cam_board: ndarray, fisheye: bool = False
) -> ndarray:
    """Adjust focal lengths, k1 and the board's poses to one view; the camera is the world."""
    scene = bundle.RigEstimate(lens[None], np.eye(4)[None], T_cam_board, fisheye)
    sightings = bundle.Sightings.from_grid(corners_px[None])
    aspect = np.zeros((1, 1, bundle.NUM_LENS))
    aspect[..., :2] = np.array([1, -1]) / (SQUARE_PIXELS * lens[0])
    prior = bundle.LensPrior(aspect, np.zeros((1, 1)), noise_px=1.0)
    free = np.zeros((1, bundle.NUM_CAMERA), bool)
    free[0, [6, 7, 10]] = True
    for huber_px in (10.0, 2.0):
        scene = bundle.adjust(scene, sightings, corners_m, prior, free, huber_px, iterations=20, tolerance=1e-4)
    return scene.lens[0]


def board_poses(
    lens: ndarray, corners_m: ndarray, corners_px: ndarray, usable: ndarray, fisheye: bool = False
) -> ndarray:
    """(frame, 2, 4, 4) the two poses T_cam_board that each planar sighting of one view allows, better one first.

    A fisheye's sightings are turned to the middle of the image first, where all of x/z and y/z are equally precise.

    Source: Collins and Bartoli, Infinitesimal Plane-based Pose Estimation (2014), as in OpenCV.
    """
    undistort = undistort_fisheye if fisheye else undistort_normalised
    xy = undistort((corners_px - lens[2:4]) / lens[:2], lens[4:])
    poses = np.full((len(corners_px), 2, 4, 4), np.nan)
    for frame in np.nonzero(usable)[0]:
        seen = np.isfinite(xy[frame, :, 0])
        if seen.sum() < MIN_CORNERS:
            continue  # the rest is beyond a fisheye's range
        R_cam_middle, flat = _turned_to_middle(xy[frame, seen]) if fisheye else (np.eye(3), xy[frame, seen])
        found, rotations, translations, _ = cv2.solvePnPGeneric(
            corners_m[seen], flat[:, None], np.eye(3), np.zeros(5), flags=cv2.SOLVEPNP_IPPE
        )
        for i in range(min(found, 2)):
            pose = np.eye(4)
            pose[:3, :3] = cv2.Rodrigues(rotations[i])[0]
            pose[:3, 3] = translations[i].ravel()
            if np.isfinite(pose).all() and pose[2, 3] > 0:
                if fisheye:
                    pose[:3] = R_cam_middle @ pose[:3]
                poses[frame, i] = pose
    return poses


def _turned_to_middle(xy: ndarray) -> tuple[ndarray, ndarray]:
    """R_cam_middle (3, 3) of a camera that looks at the middle of rays (corner, 2), and the rays as it sees them."""
    rays = np.column_stack([xy, np.ones(len(xy))])
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    z = rays.mean(0)
    x = np.cross([0.0, 1.0, 0.0], z)  # z is never along y: it lies in front of the camera
    x /= np.linalg.norm(x)
    z /= np.linalg.norm(z)
    R_cam_middle = np.column_stack([x, np.cross(z, x), z])
    turned = rays @ R_cam_middle
    return R_cam_middle, turned[:, :2] / turned[:, 2:]


def place_cameras(T_cam_board: ndarray, quad_m: ndarray, min_shared: int) -> tuple[ndarray, ndarray]:
    """Cameras of the largest connected group, in the frame of its best connected camera.

    Args:
        T_cam_board: (view, frame, 2, 4, 4) candidate poses, NaN where the board was not seen.
        quad_m: (4, 3) the board's outermost corners.
        min_shared: frames that must agree before two cameras count as connected.

    Returns:
        T_cam_world (view, 4, 4), NaN outside the group; all NaN when no two views are connected. The connected group
        (view,) that each view belongs to, as a number.
    """
    views = len(T_cam_board)
    votes = np.zeros((views, views), int)
    relative = np.full((views, views, 4, 4), np.nan)
    seen = np.isfinite(T_cam_board[:, :, 0, 0, 0])
    for a in range(views):
        for b in range(a + 1, views):
            shared = np.nonzero(seen[a] & seen[b])[0]
            if len(shared) >= min_shared:
                shared = shared[np.unique(np.linspace(0, len(shared) - 1, PAIR_FRAMES).astype(int))]
                T_a_b, votes[a, b] = _relative_pose(T_cam_board[a, shared], T_cam_board[b, shared], quad_m)
                relative[a, b], relative[b, a] = T_a_b, np.linalg.inv(T_a_b)
    votes = np.where(votes >= min_shared, votes, 0) + np.where(votes >= min_shared, votes, 0).T
    _, group = connected_components(csr_matrix(votes), directed=False)
    largest = group == np.bincount(group).argmax()
    T_cam_world = np.full((views, 4, 4), np.nan)
    if largest.sum() < 2:
        return T_cam_world, group
    root = int(np.where(largest, votes.sum(1), -1).argmax())
    # The spanning tree minimises, so a strong edge must be a short one.
    tree = minimum_spanning_tree(csr_matrix(np.where(votes > 0, 1.0 / np.maximum(votes, 1), 0.0)))
    order, parent = breadth_first_order(tree, root, directed=False)
    T_cam_world[root] = np.eye(4)
    for view in order[1:]:
        T_cam_world[view] = relative[view, parent[view]] @ T_cam_world[parent[view]]
    return T_cam_world, group


def place_board(T_cam_world: ndarray, T_cam_board: ndarray, quad_m: ndarray) -> ndarray:
    """(4, 4) T_world_board: of the candidates (view, 2, 4, 4), the one that most views agree with."""
    hypotheses = (np.linalg.inv(T_cam_world)[:, None] @ T_cam_board).reshape(-1, 4, 4)
    hypotheses = hypotheses[np.isfinite(hypotheses).all((1, 2))]
    seen_dirs = _directions(T_cam_board[:, 0], quad_m)  # (view, 4, 3)
    put_dirs = _directions(T_cam_world[None] @ hypotheses[:, None], quad_m)  # (hypothesis, view, 4, 3)
    angle = np.linalg.norm(put_dirs - seen_dirs, axis=-1).max(-1)
    return hypotheses[np.minimum(angle, 4 * VOTE_ANGLE_RAD).sum(1).argmin()]


def _relative_pose(T_a_board: ndarray, T_b_board: ndarray, quad_m: ndarray) -> tuple[ndarray, int]:
    """T_a_b (4, 4) from candidates (frame, 2, 4, 4) of two cameras, and how many frames agree with it.

    Directions, not positions, are compared: the depth of a small board is the weak part of a pose, and both candidates
    of camera a look the same in its image.
    """
    pairs = [T_a_board[:, i] @ np.linalg.inv(T_b_board[:, j]) for i, j in product(range(2), repeat=2)]
    hypotheses = np.concatenate(pairs)
    hypotheses = hypotheses[np.isfinite(hypotheses).all((1, 2))]
    seen_dirs = _directions(T_a_board[:, 0], quad_m)  # (frame, 4, 3)
    put_dirs = _directions(hypotheses[:, None, None] @ T_b_board, quad_m)  # (hypothesis, frame, 2, 4, 3)
    angle = np.linalg.norm(put_dirs - seen_dirs[:, None], axis=-1).max(-1)
    angle = np.where(np.isfinite(angle), angle, np.inf).min(-1)
    best = np.minimum(angle, VOTE_ANGLE_RAD).sum(1).argmin()
    return hypotheses[best], int((angle[best] < VOTE_ANGLE_RAD).sum())


def _directions(T_cam_board: ndarray, quad_m: ndarray) -> ndarray:
    """(..., 4, 3) unit directions to the board's outer corners."""
    points = quad_m @ np.swapaxes(T_cam_board[..., :3, :3], -1, -2) + T_cam_board[..., None, :3, 3]
    return points / np.linalg.norm(points, axis=-1, keepdims=True)
