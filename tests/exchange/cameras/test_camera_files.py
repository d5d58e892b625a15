"""Camera files: aniposelib's format in and out, matched by name."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.strategies import integers
from paths import WEBCAMS as RECORDING
from scipy.spatial.transform import Rotation

from handpipe.core.cameras import Cameras
from handpipe.core.cameras_file import format_cameras, match_views, read_cameras, unlike_views, write_cameras
from handpipe.core.errors import CalibrationError, DiskError
from handpipe.exchange.cameras.caliscope import read_caliscope_cameras


def random_rig(seed: int, views: int = 12) -> Cameras:
    rng = np.random.default_rng(seed)
    K = np.tile(np.eye(3), (views, 1, 1))
    K[:, [0, 1], [0, 1]] = rng.uniform(400, 900, (views, 2))
    K[:, :2, 2] = rng.uniform(200, 400, (views, 2))
    T = np.tile(np.eye(4), (views, 1, 1))
    T[:, :3, :3] = Rotation.from_quat(rng.normal(size=(views, 4))).as_matrix()
    T[:, :3, 3] = rng.normal(size=(views, 3)) * 10.0 ** rng.integers(-20, 3, (views, 1))
    names = tuple(f"c{i}" for i in range(views))
    return Cameras(names, K, rng.normal(0, 0.1, (views, 5)), T, rng.integers(200, 4000, (views, 2)))


@settings(deadline=None)
@given(seed=integers(0, 2**32 - 1))
def test_round_trip_keeps_bits(tmp_path_factory, seed: int):
    rig, path = random_rig(seed), tmp_path_factory.mktemp("cameras") / "cameras.toml"
    write_cameras(path, rig)
    back = read_cameras(path)
    assert back.names == rig.names  # c2 before c10, though the file is sorted as text elsewhere
    for field in ("K", "distortion", "size_px"):
        np.testing.assert_array_equal(getattr(back, field), getattr(rig, field))
    np.testing.assert_array_equal(back.T_cam_world[:, :3, 3], rig.T_cam_world[:, :3, 3])
    np.testing.assert_allclose(back.T_cam_world, rig.T_cam_world, atol=1e-12)


def test_half_turns_survive(tmp_path: Path):
    """An axis and an angle of 180 degrees is where the conversion is weakest."""
    rig = random_rig(0, views=3)
    T = rig.T_cam_world.copy()
    T[:, :3, :3] = [np.diag([1.0, -1, -1]), np.diag([-1.0, -1, 1]), np.eye(3)]
    write_cameras(tmp_path / "cameras.toml", replace(rig, T_cam_world=T))
    np.testing.assert_allclose(read_cameras(tmp_path / "cameras.toml").T_cam_world, T, atol=1e-12)


def test_aniposelib_reads_our_file_and_projects_alike(tmp_path: Path):
    aniposelib = pytest.importorskip("aniposelib.cameras")
    rig, path = random_rig(3), tmp_path / "cameras.toml"
    write_cameras(path, rig, {"error": 0.3, "made_by": 'hand"pipe'})
    group = aniposelib.CameraGroup.load(str(path))
    assert group.metadata == {"error": 0.3, "made_by": 'hand"pipe'}
    by_name = {camera.get_name(): camera for camera in group.cameras}
    assert set(by_name) == set(rig.names)
    points = np.random.default_rng(0).normal(size=(5, 3)) * 0.1
    for i, name in enumerate(rig.names):
        T = rig.T_cam_world[i]
        in_front = points + T[:3, :3].T @ (np.array([0, 0, 3.0]) - T[:3, 3])
        expected = rig.subset([i]).project(in_front)[0]
        np.testing.assert_allclose(by_name[name].project(in_front)[:, 0], expected, atol=1e-6)


def test_we_read_aniposelibs_file(tmp_path: Path):
    aniposelib = pytest.importorskip("aniposelib.cameras")
    rig, ours, theirs = random_rig(4), tmp_path / "ours.toml", tmp_path / "theirs.toml"
    write_cameras(ours, rig)
    aniposelib.CameraGroup.load(str(ours)).dump(str(theirs))
    back = match_views(read_cameras(theirs), rig.names, rig.size_px)
    np.testing.assert_allclose(back.T_cam_world, rig.T_cam_world, atol=1e-9)
    np.testing.assert_allclose(back.K, rig.K, rtol=1e-9)


def test_uncalibrated_views_are_not_written_and_come_back_as_nan(tmp_path: Path):
    rig, path = random_rig(5, views=4), tmp_path / "cameras.toml"
    K = rig.K.copy()
    K[1] = np.nan
    write_cameras(path, replace(rig, K=K))
    assert read_cameras(path).names == ("c0", "c2", "c3")
    back = match_views(read_cameras(path), ("c3", "c1", "c0"), rig.size_px[[3, 1, 0]])
    assert back.calibrated.tolist() == [True, False, True]
    np.testing.assert_array_equal(back.K[[0, 2]], rig.K[[3, 0]])
    assert np.isnan(back.distortion[1]).all()
    np.testing.assert_array_equal(match_views(read_cameras(path), ("c3", "c0")).size_px, rig.size_px[[3, 0]])


def test_match_refuses_foreign_names_and_other_sizes():
    rig = random_rig(6, views=2)
    with pytest.raises(CalibrationError, match=r"named like the views \(a, b\), but found c0, c1\. Rename"):
        match_views(rig, ("a", "b"), rig.size_px)
    with pytest.raises(CalibrationError, match=r"for view c1.* but found 100x50\. Use the original clips"):
        match_views(rig, rig.names, np.array([rig.size_px[0], [100, 50]]))


GOOD = """
[cam_0]
name = "left"
size = [640, 480]
matrix = [[600.0, 0.0, 320.0], [0.0, 600.0, 240.0], [0.0, 0.0, 1.0]]
distortions = [0.0, 0.0, 0.0, 0.0, 0.0]
rotation = [0.0, 0.0, 0.0]
translation = [0.0, 0.0, 0.0]
"""


def test_cameras_without_a_clip_and_names_in_another_case_are_said():
    assert unlike_views("f", ["top", "c1", "été"], ["top", "c1", "été"]) == []
    assert unlike_views("f", ["top", "C1"], ["c1"]) == [
        "f: the camera top has no clip and is not used. Add videos/top.mp4 to use it.",
        "f: the camera C1 is taken for the view c1. Give both the same name.",
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("size = [640, 480]", "", "[cam_0]: expected the key size, but found only distortions"),
        ("[640, 480]", "[640]", "[cam_0] size: expected 2 finite numbers, but found [640]"),
        ("[[600.0, 0.0, 320.0], ", "[", "[cam_0] matrix: expected 3 x 3 finite numbers"),
        ("[[600.0, 0.0,", "[[600.0, 0.5,", "no skew"),
        ("[[600.0,", "[[-600.0,", "expected positive focal lengths, but found -600, 600"),
        ("rotation = [0.0, 0.0, 0.0]", 'rotation = "none"', "[cam_0] rotation: expected 3 or 3 x 3 finite numbers"),
        ("rotation = [0.0,", "rotation = [nan,", "[cam_0] rotation: expected 3 or 3 x 3 finite numbers"),
        ("0.0, 0.0, 0.0, 0.0, 0.0]", "0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0]", "expected k1, k2, p1, p2, k3"),
        ("size =", "fisheye = true\nsize =", "[cam_0] distortions: expected 4 finite numbers"),
        ("size =", "fisheye = 1\nsize =", "[cam_0] fisheye: expected true or false, but found 1"),
        ('name = "left"', 'name = ""', "expected the name of a view"),
        ("[cam_0]", "cam_0 = 3\n[metadata]", "expected a table per camera, but found int"),
        ("[cam_0]", "[metadata]", "expected at least one camera, but found none"),
        ("[cam_0]", "[cam_0", "expected a TOML file"),
    ],
)
def test_malformed_files_say_where_and_what(tmp_path: Path, old: str, new: str, message: str):
    path = tmp_path / "cameras.toml"
    path.write_text(GOOD)
    assert read_cameras(path).names == ("left",)
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(CalibrationError, match=re.escape(message)) as caught:
        read_cameras(path)
    assert str(path) in str(caught.value)


def test_missing_file_and_double_names(tmp_path: Path):
    path = tmp_path / "cameras.toml"
    with pytest.raises(CalibrationError, match=r"expected a camera file, but there is no such file"):
        read_cameras(path)
    path.write_text(GOOD + GOOD.replace("cam_0", "cam_1"))
    with pytest.raises(CalibrationError, match="expected every name once, but found left"):
        read_cameras(path)


def test_short_distortions_are_padded(tmp_path: Path):
    path = tmp_path / "cameras.toml"
    path.write_text(GOOD.replace("[0.0, 0.0, 0.0, 0.0, 0.0]", "[[-0.1, 0.2, 0.0, 0.3]]"))
    np.testing.assert_array_equal(read_cameras(path).distortion, [[-0.1, 0.2, 0, 0.3, 0]])


def test_a_failed_write_leaves_the_old_file_and_no_debris(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, rig = tmp_path / "cameras.toml", random_rig(7, views=2)
    write_cameras(path, rig)
    before = path.read_text()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DiskError, match="No space left on device"):
        write_cameras(path, random_rig(8, views=2))
    assert path.read_text() == before == format_cameras(rig)
    assert [p.name for p in tmp_path.iterdir()] == ["cameras.toml"]


@pytest.mark.skipif(not RECORDING.exists(), reason="the four-camera recording is not on this machine")
def test_caliscopes_file():
    cameras = read_caliscope_cameras(RECORDING / "camera_array.toml")
    assert cameras.names == ("cam_0", "cam_1", "cam_2", "cam_3")
    assert cameras.K[0, 0, 0] == 903.550124089999
    assert cameras.distortion[3, 4] == 0.10610964089301607
    np.testing.assert_array_equal(
        cameras.T_cam_world[1, :3, 3], [0.30872148305699454, -0.14760639347661925, 0.8486976063733689]
    )
    with pytest.raises(CalibrationError, match=r"expected tables \[cameras\.<id>\]"):
        read_caliscope_cameras(RECORDING / "capture_volume.toml")
