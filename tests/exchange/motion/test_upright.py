"""Exports for tools that have y up, of sessions whose world has not; and that imports take them back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stored_motions import IDS, clip

from handpipe.cli import main
from handpipe.core.cameras import Cameras
from handpipe.core.hands import HANDS, JOINTS
from handpipe.core.storage.store import Store
from handpipe.exchange.imported_session import ImportedSession, write_imported
from handpipe.exchange.motion.bvh.parser import parse_bvh
from handpipe.exchange.motion.gltf.reader import node_motion
from handpipe.exchange.motion.trc import parse_trc
from handpipe.exchange.motion.upright import along_axis, y_up
from handpipe.rendering.rig import dome_rig, look_at

NAMES = [f"{hand}_{joint}" for hand in HANDS for joint in JOINTS]


def rig(T_cam_world: np.ndarray) -> Cameras:
    n = len(T_cam_world)
    names = tuple(f"c{i}" for i in range(n))
    return Cameras(names, np.tile(np.eye(3), (n, 1, 1)), np.zeros((n, 5)), T_cam_world, np.full((n, 2), 100))


def in_first_camera(cameras: Cameras) -> Cameras:
    return replace(cameras, T_cam_world=cameras.T_cam_world @ np.linalg.inv(cameras.T_cam_world[0]))


def degrees(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.rad2deg(np.arccos(np.clip(a @ b, -1, 1))))


# ---- up, from the cameras --------------------------------------------------------------------------------------


@pytest.mark.parametrize("views", [4, 8, 50])
def test_a_dome_knows_up(views):
    """Its cameras roll by 3 degrees and look down by up to 80."""
    cameras = dome_rig(views)
    assert degrees(cameras.up, np.array([0, 0, 1])) < 4
    moved = in_first_camera(cameras)
    np.testing.assert_allclose(moved.up, cameras.T_cam_world[0, :3, :3] @ cameras.up, atol=1e-12)


def test_cameras_on_one_side_that_look_down():
    """Four on a quarter of a circle, 35 degrees above the table: their images' mean up leans by 32 degrees, up does
    not."""
    azimuth = np.deg2rad([-45, -15, 15, 45])
    center = np.stack([np.cos(azimuth), np.sin(azimuth), np.full(4, np.tan(np.deg2rad(35)))], axis=1)
    cameras = rig(np.stack([look_at(c, np.zeros(3)) for c in center]))
    mean = -cameras.T_cam_world[:, 1, :3].mean(axis=0)
    assert degrees(mean / np.linalg.norm(mean), np.array([0, 0, 1])) > 30
    assert degrees(cameras.up, np.array([0, 0, 1])) < 3


def test_one_camera_has_its_image_upright():
    np.testing.assert_allclose(rig(np.eye(4)[None]).up, [0, -1, 0], atol=1e-12)


def test_cameras_that_contradict_each_other():
    assert np.isnan(rig(np.stack([np.eye(4), np.diag([-1.0, -1, 1, 1])])).up).all()
    assert np.isnan(rig(np.full((2, 4, 4), np.nan)).up).all()


# ---- the turn --------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1))
def test_up_comes_to_lie_on_y(seed):
    up = np.random.default_rng(seed).normal(size=3)
    up /= np.linalg.norm(up)
    R = y_up(up)
    np.testing.assert_allclose(R @ up, [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(R) > 0


@pytest.mark.parametrize(
    ("up", "turned"),
    [((0, 1, 0), (1, 2, 3)), ((0, 0, 1), (1, 3, -2)), ((0, -1, 0), (1, -2, -3)), ((1, 0, 0), (-2, 1, 3))],
)
def test_the_turns_one_expects(up, turned):
    np.testing.assert_array_equal(y_up(np.array(up, float)) @ [1, 2, 3], turned)


def test_nearly_an_axis_is_that_axis():
    lean = np.deg2rad(4)
    np.testing.assert_array_equal(along_axis(np.array([0, -np.cos(lean), np.sin(lean)])), [0, -1, 0])
    lean = np.deg2rad(6)
    assert along_axis(np.array([0, -np.cos(lean), np.sin(lean)]))[2] > 0.1


# ---- sessions --------------------------------------------------------------------------------------------------


def session(root: Path, cameras: Cameras, settings: dict) -> np.ndarray:
    """A fitted session with these cameras; its joints."""
    arrays = {**clip(frames=6), "residual": np.zeros((6, 2), np.float32)}
    fingerprint = {"settings": settings}
    write_imported(
        root, ImportedSession(30.0, mano=arrays, hand_model=(IDS[0], IDS[1]), cameras=cameras), fingerprint, {}
    )
    return arrays["joints"].reshape(6, -1, 3).astype(float)


def places(file: Path) -> np.ndarray:
    """(frame, joint, 3) metres, as a program sees them that knows nothing of us."""
    if file.suffix == ".glb":
        motion = node_motion(file.read_bytes(), file.name)
        return motion.positions_m[:, [motion.names.index(name) for name in NAMES]]
    if file.suffix == ".trc":
        return parse_trc(file.read_text()).points / 1000
    bvh = parse_bvh(file.read_text())
    tips = {f"{h}_{f}_tip": f"{h}_{f}_{'ip' if f == 'thumb' else 'dip'}/end" for h in HANDS for f in
            ("thumb", "index", "middle", "ring", "pinky")}  # fmt: skip
    return bvh.positions()[:, [bvh.names.index(tips.get(name, name)) for name in NAMES]] / 100


@pytest.mark.parametrize("kind", ["gltf", "bvh", "trc"])
@pytest.mark.parametrize("world", ["first-camera", "gravity"])
def test_upright_and_back(tmp_path, capsys, kind, world):
    cameras = dome_rig(8)
    if world == "first-camera":
        cameras = in_first_camera(cameras)
        R_up = y_up(cameras.up)
        assert degrees(R_up[1], np.array([0, 1, 0])) > 90, "without a turn they are upside down"
    else:
        cameras = replace(cameras, T_cam_world=cameras.T_cam_world[:, [1, 2, 0, 3]])  # images that say something else
        R_up = y_up(np.array([0.0, 0.0, 1.0]))
    joints = session(tmp_path / "s", cameras, {"world": world})
    file = tmp_path / {"gltf": "it.glb", "bvh": "it.bvh", "trc": "it.trc"}[kind]
    assert main(["export", kind, str(tmp_path / "s"), "--out", str(file), "--json"]) == 0
    said = " ".join(json.loads(capsys.readouterr().out)["lost"])
    assert "turned so that y is up, as " + ("its world" if world == "gravity" else "the cameras") in said
    np.testing.assert_allclose(places(file), joints @ R_up.T, atol=1e-6)

    files = [str(file)] * 2 if kind == "bvh" else [str(file)]
    assert main(["import", "bvh" if kind == "bvh" else "keypoints", *files, str(tmp_path / "back")]) == 0
    back = Store(str(tmp_path / "back" / "session.zarr")).read("keypoints", "points").reshape(joints.shape)
    expected = joints @ R_up.T if kind == "trc" else joints
    np.testing.assert_allclose(back, expected, atol=1e-6)


def test_a_turn_that_is_none_is_passed_over(tmp_path):
    """Whatever somebody writes into extras."""
    joints = session(tmp_path / "s", in_first_camera(dome_rig(8)), {})
    assert main(["export", "gltf", str(tmp_path / "s"), "--out", str(tmp_path / "it.glb")]) == 0
    data = (tmp_path / "it.glb").read_bytes()
    start = data.index(b'"y_up_from_session":[') + len(b'"y_up_from_session":[')
    end = data.index(b"]", start)
    shown = places(tmp_path / "it.glb")
    for text in (b"1,0,0", b'"a",0,0,1', b"5,0,0,1", b"null,0,0,1", b"1e999,0,0,0"):
        (tmp_path / "bad.glb").write_bytes(data[:start] + text.ljust(end - start) + data[end:])
        root = tmp_path / f"back{len(list(tmp_path.iterdir()))}"
        assert main(["import", "keypoints", str(tmp_path / "bad.glb"), str(root)]) == 0
        points = Store(str(root / "session.zarr")).read("keypoints", "points").reshape(joints.shape)
        np.testing.assert_allclose(points, shown, atol=1e-6)
