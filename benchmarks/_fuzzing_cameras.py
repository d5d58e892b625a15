"""Camera files of every format, as `handpipe calibrate --from` reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from _fuzzing_containers import npz
from _fuzzing_format import SEVERAL, TEXT, Format, only_file
from _fuzzing_mutations import Files, in_a_file, json_tree
from scipy.spatial.transform import Rotation

from handpipe.core.cameras import Cameras
from handpipe.core.cameras_file import format_cameras, parse_cameras
from handpipe.exchange.cameras.formats import FORMATS, read_camera_file
from handpipe.rendering.rig import dome_rig

FEW = 8
"""Cameras up to which the session's own file is written and read back, too."""


def formats() -> list[Format]:
    json = (*TEXT, in_a_file(json_tree), in_a_file(json_tree))
    return [
        _format("aniposelib", "c.toml", TEXT, "exchange.cameras.aniposelib", "core.cameras_file"),
        _format("caliscope", "c.toml", TEXT, "exchange.cameras.caliscope"),
        _format("opencv", "c.yml", TEXT, "exchange.cameras.opencv"),
        _format("opencv", "c.xml", TEXT, "exchange.cameras.opencv"),
        Format("cameras: easymocap", _easymocap, _read_folder, SEVERAL, ("exchange.cameras.opencv",)),
        Format("cameras: colmap", _colmap, _read_folder, SEVERAL, ("exchange.cameras.colmap",)),
        _format("interhand", "c.json", json, "exchange.cameras.interhand26m"),
        _format("json", "c.json", json, "exchange.cameras.plain_json"),
        _format("npz", "c.npz", (*TEXT[:1], *[in_a_file(npz)] * 3), "exchange.cameras.plain_npz"),
        _format("dlt", "c.csv", TEXT, "exchange.cameras.dlt"),
        Format("cameras: qualisys", _qualisys, _read, TEXT, ("exchange.cameras.qualisys", "exchange.cameras.format")),
        Format("cameras: vicon", _vicon, _read, TEXT, ("exchange.cameras.vicon", "exchange.cameras.format")),
    ]


def _format(name: str, file: str, mutators: tuple, *modules: str) -> Format:
    def make(folder: Path) -> list[Files]:
        return [_written(name, folder / file, rig) for rig in (dome_rig(3, (480, 384)), _bent_rig())]

    suffix = " xml" if file.endswith(".xml") else ""
    return Format(f"cameras: {name}{suffix}", make, _read, mutators, modules)


def _bent_rig() -> Cameras:
    """Two cameras, one of them with a fisheye lens, with other names and without distortion of the first."""
    rig = dome_rig(2, (640, 480), seed=1)
    distortion = np.array([[0.0] * 5, [0.01, -0.002, 0.001, 0.0, 0.0]])
    return Cameras(("left_1", "Größe 2"), rig.K, distortion, rig.T_cam_world, rig.size_px, np.array([False, True]))


def _written(name: str, path: Path, rig: Cameras) -> Files:
    write = FORMATS[name].write
    assert write is not None
    if name in ("dlt", "interhand", "colmap"):
        rig = Cameras(tuple(f"v{i}" for i in range(len(rig))), rig.K, rig.distortion, rig.T_cam_world, rig.size_px)
    files = write(path, rig)
    return {file.name: content.encode() if isinstance(content, str) else content for file, content in files.items()}


def _colmap(folder: Path) -> list[Files]:
    return [_written("colmap", folder, rig) for rig in (dome_rig(3, (480, 384)), dome_rig(2, seed=2))]


def _easymocap(folder: Path) -> list[Files]:
    rig = dome_rig(2, (480, 384))
    intri = ["%YAML:1.0", "---", "names:", *(f"  - '{name}'" for name in rig.names)]
    extri = list(intri)
    for i, name in enumerate(rig.names):
        pose = rig.T_cam_world[i]
        intri += [*_matrix(f"K_{name}", rig.K[i]), *_matrix(f"dist_{name}", rig.distortion[i : i + 1])]
        intri += [f"H_{name}: 384", f"W_{name}: 480"]
        extri += [*_matrix(f"Rot_{name}", pose[:3, :3]), *_matrix(f"T_{name}", pose[:3, 3:])]
    return [{"intri.yml": "\n".join(intri).encode(), "extri.yml": "\n".join(extri).encode()}]


def _matrix(name: str, values: np.ndarray) -> list[str]:
    rows, columns = values.shape
    data = ", ".join(map(repr, values.ravel().tolist()))
    return [f"{name}: !!opencv-matrix", f"  rows: {rows}", f"  cols: {columns}", "  dt: d", f"  data: [{data}]"]


def _qualisys(folder: Path) -> list[Files]:
    rig, found = dome_rig(2, (480, 384)), []
    for view in (True, False):
        cameras = []
        for i, name in enumerate(rig.names):
            K, (k1, k2, p1, p2, k3) = rig.K[i] * 64, rig.distortion[i]
            R, (x, y, z) = np.diag([1, -1, -1]) @ rig.T_cam_world[i, :3, :3], rig.centers_m[i] * 1000
            turn = " ".join(f'r{a + 1}{b + 1}="{R[a, b]}"' for a in range(3) for b in range(3))
            cameras.append(
                f'<camera serial="{name}" model="Miqus Video" calibrated="true">'
                + ('<fov_video left="0" top="0" right="479" bottom="383"/>' if view else "")
                + f'<transform x="{x}" y="{y}" z="{z}" {turn}/><intrinsic sensorMaxU="30719" sensorMaxV="24575" '
                f'focalLengthU="{K[0, 0]}" focalLengthV="{K[1, 1]}" centerPointU="{K[0, 2]}" centerPointV="{K[1, 2]}" '
                f'radialDistortion1="{k1}" radialDistortion2="{k2}" radialDistortion3="{k3}" '
                f'tangentalDistortion1="{p1}" tangentalDistortion2="{p2}"/></camera>'
            )
        text = f"<?xml version='1.0'?>\n<calibration><cameras>{''.join(cameras)}</cameras></calibration>"
        found.append({"c.qca.txt": text.encode()})
    return found


def _vicon(folder: Path) -> list[Files]:
    rig, found = dome_rig(2, (480, 384)), []
    for radial in ("0 0 0", "-2.5e-8 4e-15 -2e-22"):
        cameras = []
        for i, name in enumerate(rig.names):
            f, cx, cy = rig.K[i, 0, 0], *rig.K[i, :2, 2]
            quaternion = " ".join(map(repr, Rotation.from_matrix(rig.T_cam_world[i, :3, :3]).as_quat().tolist()))
            place = " ".join(map(repr, (rig.centers_m[i] * 1000).tolist()))
            cameras.append(
                f'<Camera DEVICEID="{name}" PIXEL_ASPECT_RATIO="1" SENSOR_SIZE="480 384" TYPE="Vue_VIDEO"><KeyFrames>'
                f'<KeyFrame FOCAL_LENGTH="{f}" ORIENTATION="{quaternion}" POSITION="{place}" PRINCIPAL_POINT="{cx} '
                f'{cy}" VICON_RADIAL="0 0" VICON_RADIAL2="Vicon3Parameter {cx} {cy} {radial}"/></KeyFrames></Camera>'
            )
        text = f'<?xml version="1.0"?>\n<Cameras VERSION="1.0">{"".join(cameras)}</Cameras>'
        found.append({"c.xcp": text.encode()})
    return found


def _read(folder: Path) -> None:
    _check(read_camera_file(only_file(folder)).cameras)


def _read_folder(folder: Path) -> None:
    _check(read_camera_file(str(folder)).cameras)


def _check(cameras: Cameras) -> None:
    """What `read_camera_file` promises, and what the session's own file needs: it is written from these cameras."""
    count = len(cameras)
    assert len(set(cameras.names)) == count > 0, cameras.names
    assert all(cameras.names), cameras.names
    assert cameras.K.shape == (count, 3, 3)
    assert np.isfinite(cameras.K).all()
    assert cameras.T_cam_world.shape == (count, 4, 4)
    assert np.isfinite(cameras.T_cam_world).all()
    assert np.isfinite(cameras.distortion).all()
    assert (cameras.size_px >= 0).all()
    R = cameras.T_cam_world[:, :3, :3]
    assert np.allclose(R @ R.mT, np.eye(3), atol=1e-5)
    assert (np.linalg.det(R) > 0).all()
    if count <= FEW:
        again = parse_cameras("cameras.toml", format_cameras(cameras))
        assert again.names == cameras.names
        assert np.allclose(again.T_cam_world, cameras.T_cam_world, atol=1e-5, rtol=1e-9)
