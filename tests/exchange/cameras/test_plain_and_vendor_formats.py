"""Plain JSON and npz, DLT coefficients, and the files of Qualisys and Vicon, as their own programs write them."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.strategies import integers
from scipy.spatial.transform import Rotation

from handpipe.core.cameras import Cameras
from handpipe.core.errors import CalibrationError
from handpipe.exchange.cameras.formats import read_camera_file, write_camera_file

seeds = integers(0, 2**32 - 1)


def rig_of(seed: int = 0, views: int = 3) -> Cameras:
    """Cameras around the origin, in front of them, with lenses like those of video cameras."""
    rng = np.random.default_rng(seed)
    K = np.tile(np.eye(3), (views, 1, 1))
    K[:, [0, 1], [0, 1]] = rng.uniform(1500, 1700, (views, 1))
    K[:, :2, 2] = rng.uniform([900, 500], [1000, 580], (views, 2))
    T = np.tile(np.eye(4), (views, 1, 1))
    T[:, :3, :3] = Rotation.from_quat(rng.normal(size=(views, 4))).as_matrix()
    T[:, :3, 3] = rng.uniform([-0.1, -0.1, 1], [0.1, 0.1, 3], (views, 3))
    names = tuple(f"cam_{i + 1}" for i in range(views))
    return Cameras(names, K, rng.normal(0, 0.01, (views, 5)), T, np.tile([1920, 1080], (views, 1)))


def points(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(-0.2, 0.2, (9, 3))


# ---- plain ------------------------------------------------------------------------------------------------------


def view(**more) -> dict:
    K = [[900, 0, 640], [0, 900, 360], [0, 0, 1]]
    return {"K": K, "R": np.eye(3).tolist(), "t": [0, 0, 1.5]} | more


def read_json(tmp_path, tree) -> Cameras:
    (tmp_path / "c.json").write_text(tree if isinstance(tree, str) else json.dumps(tree))
    return read_camera_file(str(tmp_path / "c.json")).cameras


def test_what_json_may_leave_out_or_say_otherwise(tmp_path):
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = Rotation.from_rotvec([0.1, 0.2, 0.3]).as_matrix(), [1, 2, 3]
    pose = {"K": view()["K"], "note": "other keys are ignored"}
    tree = {
        "a": view(),
        "b": view(distortion=[]),
        "c": view(distortion=[-0.1]),
        "d": view(distortion=[0.1, 0.2, 0.3]),
        "e": view(R=[0.1, 0.2, 0.3], size=[1280, 720]),
        "f": pose | {"T_cam_world": T.tolist()},
        "g": pose | {"T_cam_world": T[:3].tolist()},
        "h": view(fisheye=True, distortion=[0.1, 0.2, 0.3, 0.4]),
        "i": view(fisheye=True),
    }
    cameras = read_json(tmp_path, tree)
    assert cameras.names == tuple("abcdefghi")
    expected = np.zeros((9, 5))
    expected[2, 0], expected[3, :3], expected[7, :4] = -0.1, [0.1, 0.2, 0.3], [0.1, 0.2, 0.3, 0.4]
    np.testing.assert_array_equal(cameras.distortion, expected)
    np.testing.assert_allclose(cameras.T_cam_world[4, :3, :3], T[:3, :3], atol=1e-15)
    np.testing.assert_array_equal(cameras.T_cam_world[5:7], [T, T])
    assert cameras.size_px[:5].tolist() == [[0, 0]] * 4 + [[1280, 720]]
    assert cameras.fisheye.tolist() == [False] * 7 + [True] * 2


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ([], "expected cameras in one of the formats"),
        ({"a": 3}, "a: expected a table per camera, but found int"),
        ({"a": {}}, "[a]: expected the key K, but found only"),
        ({"a": view(K=[[1, 0], [0, 1]])}, "[a] K: expected 3 x 3 finite numbers"),
        ({"a": view(K=[[900, 2, 640], [0, 900, 360], [0, 0, 1]])}, "[a] K: expected fx, fy, cx, cy and no skew"),
        ({"a": view(R=[[1, 0, 0], [0, 1, 0], [0, 0, 2]])}, "[a] R: expected a rotation matrix"),
        ({"a": view(R=[[1, 0, 0], [0, 1, 0], [0, 0, -1]])}, "[a] R: expected a rotation between right-handed axes"),
        ({"a": view(t=[0, 0])}, "[a] t: expected 3 finite numbers"),
        ({"a": view(t=[0, 0, 10**400])}, "[a] t: expected 3 finite numbers"),
        ({"a": view(distortion=[0] * 6)}, "[a] distortion: expected 5 or 4"),
        ({"a": view(distortion="x")}, "[a] distortion: expected 5 or 4"),
        ({"a": view(distortion=[0.1], fisheye=True)}, "[a] distortion: expected 4 finite numbers"),
        ({"a": view(fisheye=1)}, "[a] fisheye: expected true or false, but found 1"),
        ({"a": view(size=[1280.5, 720])}, "[a] size: expected whole pixels, but found 1280.5 x 720"),
        ({"a": view(size=[-1, 720])}, "[a] size: expected whole pixels"),
        ({"": view()}, "expected the name of a view"),
        ({"a": {"K": view()["K"], "T_cam_world": [[1]]}}, "[a] T_cam_world: expected 4 x 4 numbers"),
        ({"a": {"K": view()["K"], "T_cam_world": np.ones((4, 4)).tolist()}}, "[a] T_cam_world: expected 0, 0, 0, 1"),
        ('{"a": ' + "[" * 100_000, "expected JSON"),
        ('{"a": {"K": ' + "[" * 600 + "]" * 600 + "}}", "c.json: "),  # how deep Python goes is its own
    ],
)
def test_wrong_json_says_where_and_what(tmp_path, tree, message):
    with pytest.raises(CalibrationError, match=re.escape(message)):
        read_json(tmp_path, tree)


def test_npz_of_a_laboratory(tmp_path):
    """As someone would save it who has no fisheyes and no sizes; a view without a calibration has NaN."""
    rig, path = rig_of(), tmp_path / "c.npz"
    K = rig.K.copy()
    K[1] = np.nan
    rotvec = Rotation.from_matrix(rig.T_cam_world[:, :3, :3]).as_rotvec()
    arrays = {"names": np.array(rig.names), "K": K, "R": rotvec, "t": rig.T_cam_world[:, :3, 3]}
    np.savez_compressed(path, **arrays)
    cameras = read_camera_file(str(path)).cameras
    assert cameras.names == ("cam_1", "cam_3")
    np.testing.assert_allclose(cameras.T_cam_world, rig.T_cam_world[[0, 2]], atol=1e-12)
    assert not cameras.distortion.any()
    for change, message in {
        "names": "expected the array names, but found only K, R, t",
        "t": re.escape("t: expected 3 views first, as in names, but found 2 x 3"),
        "K": r"\[cam_2\] K: expected 3 x 3 finite numbers",
    }.items():
        wrong = {"names": None, "t": arrays["t"][:2], "K": K.astype(str)}
        np.savez(path, **{k: v for k, v in (arrays | {change: wrong[change]}).items() if v is not None})
        with pytest.raises(CalibrationError, match=message):
            read_camera_file(str(path))
    np.savez(path, **arrays, distortion=np.zeros(3, bool), fisheye=np.ones(3, bool))  # pyright: ignore
    with pytest.raises(CalibrationError, match=r"\[cam_1\] distortion: expected 4 finite numbers"):
        read_camera_file(str(path))
    np.savez(path, names=np.array([{}], object), K=K)
    with pytest.raises(CalibrationError, match="plain arrays"):
        read_camera_file(str(path))


# ---- DLT --------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(seed=seeds)
def test_dlt_coefficients_project_as_dltdv_does(tmp_path_factory, seed):
    """DLTdv's equation, first pixel (1, 1), gives our pixels; and the same with v from the lower edge."""
    rig, path = rig_of(seed), tmp_path_factory.mktemp("dlt") / "rig_dltCoefs.csv"
    rig = replace(rig, distortion=np.zeros_like(rig.distortion))
    write_camera_file(path, rig, "dlt")
    table = np.loadtxt(path, delimiter=",")
    assert table.shape == (11, 3)
    X = points(np.random.default_rng(seed))
    for i, L in enumerate(table.T):
        below = X @ L[8:] + 1
        uv = np.stack([(X @ L[:3] + L[3]) / below, (X @ L[4:7] + L[7]) / below], -1)
        np.testing.assert_allclose(uv - 1, rig.project(X)[i], atol=1e-7)
    height = 1080
    # v counted up: the centre of the lowest pixel is 1, and that of the highest is the height.
    table[4:8] = (height + 1) * np.append(table[8:], np.ones((1, 3)), 0) - table[4:8]
    np.savetxt(path, table, delimiter=",", fmt="%.17g")
    with pytest.raises(CalibrationError, match=r"but found a mirror.*Argus.*#1080"):
        read_camera_file(str(path))
    back = read_camera_file(f"{path}#{height}").cameras
    np.testing.assert_allclose(back.project(X), rig.project(X), atol=1e-6)


def test_wrong_dlt(tmp_path):
    path, rig = tmp_path / "c.csv", rig_of()
    behind = rig.T_cam_world.copy()
    behind[1, 2, 3] = -1
    with pytest.raises(CalibrationError, match="in front of every camera, but found not so for cam_2"):
        write_camera_file(path, replace(rig, T_cam_world=behind), "dlt")
    write_camera_file(path, rig, "dlt")
    good = path.read_text()
    rows = good.splitlines()
    for text, source, message in (
        ("\n".join(rows[:10]), path, "none of them"),
        (good.replace(rows[2], rows[2] + ",1"), path, "11 rows with a number per camera"),
        (good.replace(rows[0].split(",")[0], "nan"), path, "column 1: expected 11 coefficients of a camera"),
        ("0,0\n" * 11, path, "column 1: expected 11 coefficients of a camera"),
        (good, f"{path}#1080", "leave out #1080"),
        (good, f"{path}#high", "the height of the images in pixels after #, but found high"),
    ):
        path.write_text(text)
        with pytest.raises(CalibrationError, match=re.escape(message)):
            read_camera_file(str(source))
    skewed = rig.K.copy()
    skewed[0, 0, 1] = 10
    write_camera_file(path, replace(rig, K=skewed), "dlt")
    with pytest.raises(CalibrationError, match="expected pixels without skew"):
        read_camera_file(str(path))


# ---- Qualisys ---------------------------------------------------------------------------------------------------


def qca(rig: Cameras, left: int = 0, top: int = 0) -> str:
    """Qualisys' XML: position in mm, rotation to a camera that looks along -z, 1/64 pixels of the whole sensor."""
    out = []
    for i, name in enumerate(rig.names):
        (fx, cx), (fy, cy) = rig.K[i, 0, [0, 2]] * 64, rig.K[i, 1, 1:] * 64
        k1, k2, p1, p2, k3 = rig.distortion[i]
        R = np.diag([1, -1, -1]) @ rig.T_cam_world[i, :3, :3]
        x, y, z = rig.centers_m[i] * 1000
        w, h = rig.size_px[i]
        turn = " ".join(f'r{a + 1}{b + 1}="{R[a, b]}"' for a in range(3) for b in range(3))
        out.append(
            f'<camera active="1" calibrated="true" serial="{name}" model="Miqus Video" viewrotation="0">'
            f'<fov_video left="{left}" top="{top}" right="{left + w - 1}" bottom="{top + h - 1}"/>'
            f'<transform x="{x}" y="{y}" z="{z}" {turn}/>'
            f'<intrinsic sensorMaxU="{w * 64 - 1}" sensorMaxV="{h * 64 - 1}" skew="0.000000" focalLengthU="{fx}" '
            f'focalLengthV="{fy}" centerPointU="{cx + left * 64}" centerPointV="{cy + top * 64}" '
            f'radialDistortion1="{k1}" radialDistortion2="{k2}" radialDistortion3="{k3}" '
            f'tangentalDistortion1="{p1}" tangentalDistortion2="{p2}"/></camera>'
        )
    marker = '<camera serial="99" model="Miqus M3" calibrated="true"/>'
    off = out[0].replace('serial="cam_1"', 'serial="off"').replace('calibrated="true"', 'calibrated="false"')
    cameras = "".join([marker, off, *out])
    return f"<?xml version='1.0' encoding='ASCII'?>\n<calibration><cameras>{cameras}</cameras></calibration>"


@settings(deadline=None, max_examples=15)
@given(seed=seeds)
def test_qualisys(tmp_path_factory, seed):
    rig, path = rig_of(seed), tmp_path_factory.mktemp("qca") / "c.qca.txt"
    for left, top in ((0, 0), (64, 32)):
        path.write_text("\ufeff" + qca(rig, left, top))
        found = read_camera_file(str(path))
        assert (found.format, found.unit_m, found.cameras.names) == ("qualisys", 0.001, rig.names)
        np.testing.assert_allclose(found.cameras.K, rig.K, rtol=1e-12)
        np.testing.assert_allclose(found.cameras.T_cam_world, rig.T_cam_world, atol=1e-9)
        np.testing.assert_array_equal(found.cameras.distortion, rig.distortion)
        np.testing.assert_array_equal(found.cameras.size_px, rig.size_px)
    path.write_text(re.sub("<fov_video.*?/>", "", qca(rig)))
    np.testing.assert_array_equal(read_camera_file(str(path)).cameras.size_px, rig.size_px)


# ---- Vicon ------------------------------------------------------------------------------------------------------

RADIAL = np.array([-2.5e-8, 4.0e-15, -2.0e-22])
"""Of a lens that moves the corners by some twenty pixels; per pixel to the second, fourth and sixth power."""


def xcp(rig: Cameras, radial: np.ndarray) -> str:
    """Vicon's XML: position in mm, quaternion x, y, z, w from the world to the camera, lens in pixels."""
    out = []
    for i, name in enumerate(rig.names):
        f, cx, cy = rig.K[i, 0, 0], *rig.K[i, :2, 2]
        quat = " ".join(map(repr, Rotation.from_matrix(rig.T_cam_world[i, :3, :3]).as_quat().tolist()))
        place = " ".join(map(repr, (rig.centers_m[i] * 1000).tolist()))
        lens = " ".join(map(repr, [float(cx), float(cy), *radial.tolist()]))
        w, h = rig.size_px[i]
        out.append(
            f'<Camera DEVICEID="{name}" PIXEL_ASPECT_RATIO="1" SENSOR_SIZE="{w} {h}" SKEW="0" TYPE="Vue_VIDEO">'
            f'<KeyFrames><KeyFrame FOCAL_LENGTH="{f}" FRAME="0" ORIENTATION="{quat}" POSITION="{place}" '
            f'PRINCIPAL_POINT="{cx} {cy}" VICON_RADIAL="0 0" VICON_RADIAL2="Vicon3Parameter {lens}"/>'
            "</KeyFrames></Camera>"
        )
    others = '<Camera DEVICEID="1" TYPE="T160"/><Camera DEVICEID="2" TYPE="Vue_VIDEO"><KeyFrames/></Camera>'
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Cameras VERSION="1.0">{others}{"".join(out)}</Cameras>'


@settings(deadline=None, max_examples=15)
@given(seed=seeds)
def test_vicon(tmp_path_factory, seed):
    """Poses come back, and a pixel whose distortion Vicon removes is where OpenCV's lens, as read, puts it."""
    rig, path = rig_of(seed), tmp_path_factory.mktemp("xcp") / "c.xcp"
    path.write_text(xcp(rig, np.zeros(3)))
    found = read_camera_file(str(path))
    assert (found.format, found.unit_m, found.cameras.names) == ("vicon", 0.001, rig.names)
    np.testing.assert_allclose(found.cameras.K, rig.K, rtol=1e-12)
    np.testing.assert_allclose(found.cameras.T_cam_world, rig.T_cam_world, atol=1e-9)
    np.testing.assert_array_equal(found.cameras.size_px, rig.size_px)
    assert not found.cameras.distortion.any()
    path.write_text(xcp(rig, RADIAL))
    back = read_camera_file(str(path)).cameras
    seen = np.random.default_rng(seed).uniform([0, 0], [1919, 1079], (200, 2))
    for i in range(len(rig)):
        offset = seen - rig.K[i, :2, 2]
        d2 = (offset**2).sum(-1, keepdims=True)
        ideal = offset * (1 + RADIAL[0] * d2 + RADIAL[1] * d2**2 + RADIAL[2] * d2**3) / rig.K[i, 0, 0]
        assert np.abs(ideal * rig.K[i, 0, 0] - offset).max() > 10
        rays = np.append(ideal, np.ones((200, 1)), 1)
        again, _ = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), rig.K[i], back.distortion[i])
        np.testing.assert_allclose(again[:, 0], seen, atol=0.5)


@pytest.mark.parametrize(
    ("make", "old", "new", "message"),
    [
        (qca, "Miqus Video", "Miqus M5", "expected a video camera"),
        (qca, 'focalLengthU="', 'focus="', "camera cam_1: expected the attribute focalLengthU, but found none"),
        (qca, 'r11="', 'r11="x', "camera cam_1 r11, r12, r13, r21, r22, r23, r31, r32, r33: expected 9 finite numbers"),
        (qca, 'x="', 'x="1 2 ', "camera cam_1 x, y, z: expected 3 finite numbers"),
        (qca, 'left="0"', 'left="0 1"', "fov_video left, top, right, bottom: expected 4 finite numbers"),
        (qca, 'radialDistortion1="', 'radialDistortion1="nan" a="', "radialDistortion1, radialDistortion2"),
        (qca, "</calibration>", "", "expected XML"),
        (qca, "<calibration>", '<!DOCTYPE a [<!ENTITY e "x">]><calibration>', "a document type declaration"),
        (xcp, "Vue_VIDEO", "T160", "expected a video camera"),
        (xcp, 'ORIENTATION="', 'ORIENTATION="1 ', "ORIENTATION, POSITION: expected 10 finite numbers"),
        (xcp, 'PIXEL_ASPECT_RATIO="1"', 'PIXEL_ASPECT_RATIO="1.1"', "expected PIXEL_ASPECT_RATIO 1, but found 1.1"),
        (xcp, "Vicon3Parameter", "Vicon5Parameter", "expected Vicon3Parameter, but found Vicon5Parameter"),
        (xcp, "VICON_RADIAL2", "OTHER", None),
        (
            xcp,
            'VICON_RADIAL="0 0" VICON_RADIAL2',
            'VICON_RADIAL="1e-8 0" OTHER',
            "but found VICON_RADIAL alone",
        ),
        (xcp, "-2.5e-08", "-2.5e-07", "coefficients hold within 0.5 px"),
        (
            xcp,
            'SENSOR_SIZE="1920 1080"',
            'SENSOR_SIZE="nan 1080"',
            "SENSOR_SIZE: expected 2 finite numbers",
        ),
        (xcp, "-2.5e-08", "1e12", "coefficients hold within 0.5 px"),
    ],
)
def test_wrong_vendor_files(tmp_path, make, old, new, message):
    path, rig = tmp_path / "c.xml", rig_of()
    text = qca(rig) if make is qca else xcp(rig, RADIAL)
    assert old in text
    path.write_text(text.replace(old, new))
    if message is None:
        assert not read_camera_file(str(path)).cameras.distortion.any()
        return
    with pytest.raises(CalibrationError, match=re.escape(message)):
        read_camera_file(str(path))
