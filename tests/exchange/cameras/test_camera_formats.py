"""Camera files of every format: out and in, against each format's own reader, and what is wrong with them."""

from __future__ import annotations

import errno
import json
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.strategies import integers, sampled_from
from paths import SHARED_DATA as DATA
from scipy.spatial.transform import Rotation

from handpipe.core.cameras import Cameras
from handpipe.core.errors import CalibrationError, DiskError
from handpipe.exchange.cameras import formats
from handpipe.exchange.cameras.format import distortion_px
from handpipe.exchange.cameras.formats import losses, read_camera_file, write_camera_file

INTERHAND = DATA / "interhand26m_mmpose"

FILES = {
    "aniposelib": "cameras.toml",
    "caliscope": "camera_array.toml",
    "opencv": "cameras.yml",
    "colmap": "model",
    "interhand": "camera.json",
}


def ring(views: int = 5, seed: int = 0) -> Cameras:
    """Cameras on a circle of 1 m, with lenses of three kinds."""
    rng = np.random.default_rng(seed)
    K = np.tile(np.eye(3), (views, 1, 1))
    K[:, [0, 1], [0, 1]] = rng.uniform(600, 900, (views, 2))
    K[:, :2, 2] = rng.uniform(300, 400, (views, 2))
    distortion = rng.normal(0, 0.05, (views, 5))
    distortion[0], distortion[1:2, 4] = 0, 0
    T = np.tile(np.eye(4), (views, 1, 1))
    T[:, :3, :3] = Rotation.from_quat(rng.normal(size=(views, 4))).as_matrix()
    angle = 2 * np.pi * np.arange(views) / views
    centers = np.stack([np.cos(angle), np.sin(angle), 0.3 * rng.normal(size=views)], -1)
    T[:, :3, 3] = -np.einsum("vij,vj->vi", T[:, :3, :3], centers)
    return Cameras(tuple(f"cam_{i}" for i in range(views)), K, distortion, T, rng.integers(480, 1921, (views, 2)))


@settings(deadline=None, max_examples=40)
@given(seed=integers(0, 2**32 - 1), format=sampled_from(sorted(FILES)))
def test_round_trip(tmp_path_factory, seed, format):
    rig, path = ring(seed=seed), tmp_path_factory.mktemp("rig") / FILES[format]
    write_camera_file(path, rig, format)
    found = read_camera_file(str(path))
    assert found.format == format
    assert found.cameras.names == rig.names
    np.testing.assert_allclose(found.cameras.T_cam_world, rig.T_cam_world, atol=1e-12)
    np.testing.assert_allclose(found.cameras.K, rig.K, rtol=1e-15)
    if format == "interhand":
        assert not found.cameras.distortion.any()
        assert not found.cameras.size_px.any()
    else:
        np.testing.assert_array_equal(found.cameras.distortion, rig.distortion)
        np.testing.assert_array_equal(found.cameras.size_px, rig.size_px)


@pytest.mark.parametrize("suffix", [".yml", ".xml"])
def test_opencv_reads_our_file_and_we_read_opencvs(tmp_path, suffix):
    rig = replace(ring(), names=("cam 0", "b<&>", "ä", "0012", 'q"x'))
    ours, theirs = tmp_path / f"ours{suffix}", tmp_path / f"theirs{suffix}"
    write_camera_file(ours, rig, "opencv")
    storage = cv2.FileStorage(str(ours), cv2.FILE_STORAGE_READ)
    cameras = storage.getNode("cameras")
    out = cv2.FileStorage(str(theirs), cv2.FILE_STORAGE_WRITE)
    out.startWriteStruct("cameras", cv2.FileNode_SEQ)
    for i, name in enumerate(rig.names):
        camera = cameras.at(i)
        assert camera.getNode("name").string() == name
        assert camera.getNode("image_width").real() == rig.size_px[i, 0]
        out.startWriteStruct("", cv2.FileNode_MAP)
        out.write("name", name)
        for key in ("image_width", "image_height"):
            out.write(key, int(camera.getNode(key).real()))
        for key in ("camera_matrix", "distortion_coefficients", "rotation_matrix", "translation_vector"):
            out.write(key, camera.getNode(key).mat())
        out.endWriteStruct()
        np.testing.assert_array_equal(camera.getNode("camera_matrix").mat(), rig.K[i])
        np.testing.assert_array_equal(camera.getNode("distortion_coefficients").mat(), rig.distortion[i, None])
        np.testing.assert_array_equal(camera.getNode("translation_vector").mat(), rig.T_cam_world[i, :3, 3:])
    out.endWriteStruct()
    out.release()
    back = read_camera_file(str(theirs)).cameras
    assert back.names == rig.names
    np.testing.assert_array_equal(back.T_cam_world, rig.T_cam_world)
    np.testing.assert_array_equal(back.distortion, rig.distortion)


def test_a_folder_of_opencv_files_names_views_by_their_files(tmp_path):
    rig = ring(3)
    for i, name in enumerate(rig.names):
        out = cv2.FileStorage(str(tmp_path / f"{name}.yml"), cv2.FILE_STORAGE_WRITE)
        out.write("camera_matrix", rig.K[i])
        out.write("D", rig.distortion[i])
        out.write("rvec", cv2.Rodrigues(rig.T_cam_world[i, :3, :3])[0])
        out.write("tvec", rig.T_cam_world[i, :3, 3])
        out.release()
    (tmp_path / "notes.yml").write_text("made_by: me\n")
    back = read_camera_file(str(tmp_path)).cameras
    assert back.names == rig.names
    np.testing.assert_allclose(back.T_cam_world, rig.T_cam_world, atol=1e-12)
    np.testing.assert_array_equal(back.distortion, rig.distortion)
    assert not back.size_px.any()


def test_easymocaps_pair(tmp_path):
    rig = ring(2)
    intri, extri = (cv2.FileStorage(str(tmp_path / f"{n}.yml"), cv2.FILE_STORAGE_WRITE) for n in ("intri", "extri"))
    for out in (intri, extri):
        out.startWriteStruct("names", cv2.FileNode_SEQ)
        for name in ("01", "2"):
            out.write("", name)
        out.endWriteStruct()
    for i, name in enumerate(("01", "2")):
        intri.write(f"K_{name}", rig.K[i])
        intri.write(f"dist_{name}", rig.distortion[i, None])
        extri.write(f"R_{name}", cv2.Rodrigues(rig.T_cam_world[i, :3, :3])[0])
        extri.write(f"Rot_{name}", rig.T_cam_world[i, :3, :3])
        extri.write(f"T_{name}", rig.T_cam_world[i, :3, 3:])
    for out in (intri, extri):
        out.release()
    for source in (tmp_path, tmp_path / "intri.yml", tmp_path / "extri.yml"):
        back = read_camera_file(str(source)).cameras
        assert back.names == ("01", "2")
        np.testing.assert_allclose(back.T_cam_world, rig.T_cam_world, atol=1e-12)
        np.testing.assert_array_equal(back.K, rig.K)


def test_colmap_reads_our_model_and_projects_alike(tmp_path):
    pycolmap = pytest.importorskip("pycolmap")
    rig = ring()
    said = write_camera_file(tmp_path / "model", rig, "colmap")
    assert "lenses: written as PINHOLE and OPENCV and FULL_OPENCV, which hold the coefficients exactly" in said
    model = pycolmap.Reconstruction(str(tmp_path / "model"))
    by_name = {image.name: image for image in model.images.values()}
    for i, name in enumerate(rig.names):
        in_camera = np.array([0.05, -0.04, 1.0])
        T = rig.T_cam_world[i]
        point = T[:3, :3].T @ (in_camera - T[:3, 3])
        # COLMAP's pixel (0.5, 0.5) is the centre of the first pixel.
        expected = rig.subset([i]).project(point)[0] + 0.5
        np.testing.assert_allclose(by_name[f"{name}.png"].project_point(point), expected, atol=1e-9)


def test_we_read_what_colmap_writes(tmp_path):
    pycolmap = pytest.importorskip("pycolmap")
    rig = ring()
    write_camera_file(tmp_path / "ours", rig, "colmap")
    (tmp_path / "theirs").mkdir()
    pycolmap.Reconstruction(str(tmp_path / "ours")).write_text(str(tmp_path / "theirs"))
    back = read_camera_file(str(tmp_path / "theirs" / "images.txt")).cameras
    order = [back.names.index(name) for name in rig.names]
    np.testing.assert_allclose(back.T_cam_world[order], rig.T_cam_world, atol=1e-9)
    np.testing.assert_allclose(back.K[order], rig.K, atol=1e-9)
    np.testing.assert_allclose(back.distortion[order], rig.distortion, atol=1e-12)


def test_colmap_views_may_be_folders_or_share_a_lens(tmp_path):
    (tmp_path / "cameras.txt").write_text("1 SIMPLE_RADIAL 640 480 700 320 240 0.1\n")
    pose = "1 0 0 0 0 0 0"
    (tmp_path / "images.txt").write_text(f"# a comment\n1 {pose} 1 left/000.jpg\n\n2 1 0 0 0 1 0 0 1 right/000.jpg\n\n")
    cameras = read_camera_file(str(tmp_path)).cameras
    assert cameras.names == ("left", "right")
    np.testing.assert_array_equal(cameras.K[1], [[700, 0, 319.5], [0, 700, 239.5], [0, 0, 1]])
    np.testing.assert_array_equal(cameras.distortion[0], [0.1, 0, 0, 0, 0])
    np.testing.assert_array_equal(cameras.centers_m, [[0, 0, 0], [-1, 0, 0]])


@pytest.mark.skipif(not INTERHAND.exists(), reason="InterHand2.6M's images are not on this machine")
def test_interhands_joints_fall_on_interhands_images():
    """The world's millimetres through our reading of the file land inside the picture of 334 x 512."""
    source = INTERHAND / "test_interhand2.6m_camera.json"
    images = json.loads((INTERHAND / "test_interhand2.6m_data.json").read_text())["images"]
    joints = json.loads((INTERHAND / "test_interhand2.6m_joint_3d.json").read_text())
    for image in images:
        capture, camera, frame = str(image["capture"]), str(image["camera"]), str(image["frame_idx"])
        truth = joints[capture][frame]
        points_m = np.array(truth["world_coord"])[np.array(truth["joint_valid"]).ravel() > 0] / 1000
        cameras = read_camera_file(f"{source}#{capture}").cameras
        assert cameras.names == (camera,)
        uv = cameras.project(points_m)[0]
        assert (uv > 0).all()
        assert (uv < [image["width"], image["height"]]).all()
        # A hand, not a speck nor a smear: its joints spread over a fair part of the picture.
        assert 60 < np.ptp(uv, axis=0).max() < 400
    with pytest.raises(CalibrationError, match=r"expected one capture, but found 4 \(3, 2, 7, 4\).*#3"):
        read_camera_file(str(source))
    with pytest.raises(CalibrationError, match="expected one of the captures 3, 2, 7, 4, but found 9"):
        read_camera_file(f"{source}#9")


def test_losses_are_said(tmp_path):
    rig = replace(ring(), names=("left", "cam_1", "cam_2", "cam_3", "cam_4"))
    K = rig.K.copy()
    K[4] = np.nan
    rig = replace(rig, K=K)
    assert losses(rig, "aniposelib") == ["cam_4: left out, it has no calibration"]
    assert "left is 0, cam_1 is 1" not in losses(rig, "caliscope")[-1]
    assert losses(rig, "caliscope")[-1].endswith("left is 0")
    said = write_camera_file(tmp_path / "i.json", rig, "interhand")
    assert any(f"up to {distortion_px(rig.subset([0, 1, 2, 3])):.1f} px" in line for line in said)
    with pytest.raises(CalibrationError, match="expected a calibrated camera to write, but found none"):
        write_camera_file(tmp_path / "none.toml", rig.subset([4]), "aniposelib")
    with pytest.raises(CalibrationError, match="names without spaces, but found 'a b'"):
        write_camera_file(tmp_path / "m", replace(ring(1), names=("a b",)), "colmap")
    (tmp_path / "file").write_text("")
    with pytest.raises((DiskError, OSError)):
        write_camera_file(tmp_path / "file" / "x.toml", rig, "aniposelib")


def test_distortion_of_a_known_lens():
    """k1 = -0.1 at the corner (0.5, 0.5) of a 101 x 101 image with f = 100: r2 = 0.5 after the lens."""
    rig = ring(1)
    K = np.array([[[100.0, 0, 50], [0, 100, 50], [0, 0, 1]]])
    rig = replace(rig, K=K, distortion=np.array([[-0.1, 0, 0, 0, 0]]), size_px=np.array([[101, 101]]))
    straight = 0.5
    for _ in range(50):
        straight = 0.5 / (1 - 0.1 * 2 * straight**2)
    np.testing.assert_allclose(distortion_px(rig), 100 * np.hypot(straight - 0.5, straight - 0.5), rtol=1e-9)


@pytest.mark.parametrize("format", sorted(FILES))
def test_millimetres_are_noticed_and_taken_when_said(tmp_path, format):
    rig, path = ring(), tmp_path / FILES[format]
    T = rig.T_cam_world.copy()
    T[:, :3, 3] *= 1000
    write_camera_file(path, replace(rig, T_cam_world=T), format)
    with pytest.raises(
        CalibrationError,
        match=r"a rig in metres.*but found .*look like (milli|micro)metres \(--unit-m (0\.001|1e-06)\)",
    ):
        read_camera_file(str(path))
    unit_m = 1e-6 if format == "interhand" else 1e-3
    np.testing.assert_allclose(read_camera_file(str(path), unit_m).cameras.T_cam_world, rig.T_cam_world, atol=1e-12)


def test_metres_in_a_format_of_millimetres_are_noticed(tmp_path):
    path = tmp_path / "camera.json"
    write_camera_file(path, ring(), "interhand")
    tree = json.loads(path.read_text())
    tree["0"]["campos"] = {name: [x / 1000 for x in xyz] for name, xyz in tree["0"]["campos"].items()}
    path.write_text(json.dumps(tree))
    with pytest.raises(CalibrationError, match=r"look like metres \(--unit-m 1\)"):
        read_camera_file(str(path))
    assert read_camera_file(str(path), 1.0).cameras.names == ring().names


@pytest.mark.parametrize("format", ["aniposelib", "caliscope", "opencv", "interhand"])
def test_mirrored_and_endless_rotations(tmp_path, format):
    path, rig = tmp_path / FILES[format], ring()
    T = rig.T_cam_world.copy()
    T[2, 0, :3] *= -1
    if format in (
        "aniposelib",
        "caliscope",
    ):  # their files hold a vector, which has no mirror; a matrix may stand there
        write_camera_file(path, rig, format)
        vector = Rotation.from_matrix(rig.T_cam_world[2, :3, :3]).as_rotvec().tolist()
        path.write_text(path.read_text().replace(str(vector), str(T[2, :3, :3].tolist())))
    else:
        write_camera_file(path, replace(rig, T_cam_world=T), format)
    with pytest.raises(CalibrationError, match=r"right-handed axes .* a mirror in it \(determinant -1\)") as caught:
        read_camera_file(str(path))
    assert "cam_2" in str(caught.value) or "cameras 2" in str(caught.value) or "cameras.2" in str(caught.value)
    broken = re.sub(r"\[[^\[\]]*\]", lambda m: m.group().replace("0.", "nan_0.", 1), path.read_text(), count=1)
    path.write_text(
        broken.replace("nan_0.", "NaN,0.") if format == "interhand" else broken.replace("nan_0.", ".nan, 0.")
    )
    with pytest.raises(CalibrationError):
        read_camera_file(str(path))


GOOD_YAML = """%YAML:1.0
---
cameras:
   -
      name: "a"
      camera_matrix: !!opencv-matrix
         rows: 3
         cols: 3
         dt: d
         data: [ 700., 0., 320., 0., 700., 240., 0., 0., 1. ]
      rotation_matrix: !!opencv-matrix
         rows: 3
         cols: 3
         dt: d
         data: [ 1., 0., 0., 0., 1., 0., 0., 0., 1. ]
      translation_vector: [ 0., 0., 0. ]
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("%YAML", "%YAML", None),
        ("700., 0., 320.,", ".Nan, 0., 320.,", "[cameras 0] matrix: expected 3 x 3 finite numbers"),
        ("700., 0., 320., 0.,", "700., 0., 320.,", "cameras 0 camera_matrix: expected 3 x 3 numbers, but found 8"),
        ("rows: 3", "rows: three", "expected a matrix (rows, cols, dt, data)"),
        ("rotation_matrix", "rotation", "expected the key rotation_matrix or R or rvec, but found only name"),
        ('name: "a"', "serial: 12", "expected the name of a view"),
        ('      name: "a"\n', '      name: &x "a"\n      other: *x\n', "an alias (*name)"),
        ("cameras:\n   -\n", "cameras:\n", "expected a sequence of mappings, but found dict"),
        ("translation_vector: [ 0.", "translation_vector: [ 0., [", "expected OpenCV's YAML or XML"),
        ('name: "a"', "name: !!python/object/apply:os.system [ls]", "expected the name of a view"),
        ("translation_vector: [ 0., 0., 0. ]", "translation_vector: " + "[" * 4000, "expected OpenCV's YAML or XML"),
    ],
)
def test_wrong_yaml_says_where_and_what(tmp_path, old, new, message):
    path = tmp_path / "rig.yml"
    path.write_text(GOOD_YAML.replace(old, new, 1))
    if message is None:
        assert read_camera_file(str(path)).cameras.names == ("a",)
        return
    with pytest.raises(CalibrationError, match=re.escape(message)) as caught:
        read_camera_file(str(path))
    assert str(path) in str(caught.value)


def test_entities_never_unfold(tmp_path):
    path = tmp_path / "rig.xml"
    bomb = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10 if i else "x" * 10}">' for i in range(9))
    path.write_text(
        f"<?xml version='1.0'?><!DOCTYPE x [{bomb}]><opencv_storage><cameras>&e8;</cameras></opencv_storage>"
    )
    with pytest.raises(CalibrationError, match="a document type declaration, which camera files do not have"):
        read_camera_file(str(path))
    path.write_text("<?xml version='1.0'?><opencv_storage><cameras>")
    with pytest.raises(CalibrationError, match="expected OpenCV's YAML or XML, but found no element found"):
        read_camera_file(str(path))


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "cameras.txt",
            "OPENCV",
            "THIN_PRISM_FISHEYE",
            "line 2: expected COLMAP's text, but found the lens THIN_PRISM",
        ),
        (
            "cameras.txt",
            " 640 480",
            " 640",
            "line 2: expected COLMAP's text, but found 7 parameters of OPENCV and not 8",
        ),
        ("cameras.txt", "700", "nan", "matrix: expected 3 x 3 finite numbers"),
        ("images.txt", "1 0 0 0 0 0 0", "2 0 0 0 0 0 0", "found a quaternion of length 2 and not 1"),
        ("images.txt", " 1 a.png", " 3 a.png", "expected a camera of cameras.txt (1), but found 3"),
        ("images.txt", " 1 a.png", "", "line 1: expected COLMAP's text"),
    ],
)
def test_wrong_colmap_says_where_and_what(tmp_path, file, old, new, message):
    (tmp_path / "cameras.txt").write_text("# CAMERA_ID\n1 OPENCV 640 480 700 700 320 240 0 0 0 0\n")
    (tmp_path / "images.txt").write_text("1 1 0 0 0 0 0 0 1 a.png\n\n")
    assert read_camera_file(str(tmp_path)).cameras.names == ("a",)
    path = tmp_path / file
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(CalibrationError, match=re.escape(message)):
        read_camera_file(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello", "expected cameras in one of the formats aniposelib, caliscope, "),
        ("a = 1\n", "but found none of them"),
        ("{}", "expected at least one camera, but found none"),
        ('{"1": {"campos": 1}}', "expected campos, camrot, focal, princpt by capture"),
        ('{"1": ', "expected JSON"),
        (
            '{"campos": {"a": [0, 0]}, "camrot": {"a": 1}, "focal": {"a": [1, 1]}, "princpt": {"a": [1, 1]}}',
            "campos (3)",
        ),
        (
            f'{{"campos": {{"a": [0, 0, {10**400}]}}, "camrot": {{"a": 1}}, "focal": {{"a": [1, 1]}}, '
            '"princpt": {"a": [1, 1]}}',
            "campos (3)",
        ),
        (
            '{"campos": {"a": [0, 0, 0]}, "camrot": {}, "focal": {}, "princpt": {}}',
            "expected its camrot, but found none",
        ),
        ("\x00\xff", "which is text, but found other bytes"),
        ("[cam_0]\nname = 'a'\nsize = [1\n", "expected a TOML file"),
    ],
)
def test_what_is_no_camera_file(tmp_path, text, message):
    path = tmp_path / "x"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(CalibrationError, match=re.escape(message)):
        read_camera_file(str(path))


def test_places_without_cameras(tmp_path):
    with pytest.raises(CalibrationError, match="expected a camera file, but there is no such file"):
        read_camera_file(str(tmp_path / "absent.toml"))
    with pytest.raises(CalibrationError, match="none of them"):
        read_camera_file(str(tmp_path))
    (tmp_path / "images.bin").write_bytes(b"")
    with pytest.raises(CalibrationError, match=r"found the binary one\. Convert it: `colmap model_converter"):
        read_camera_file(str(tmp_path))
    (tmp_path / "cameras.txt").write_text("")
    (tmp_path / "images.bin").unlink()
    with pytest.raises(CalibrationError, match=r"expected images\.txt of COLMAP's text model, but found none"):
        read_camera_file(str(tmp_path / "cameras.txt"))


def test_a_folder_of_cameras_is_whole_or_not_there(tmp_path, monkeypatch):
    def full(path, content):
        if path.name == "points3D.txt":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        path.write_text(content)

    with monkeypatch.context() as disk:
        disk.setattr(formats, "write_whole", full)
        with pytest.raises(DiskError, match="expected room to write"):
            write_camera_file(tmp_path / "model", ring(), "colmap")
    assert not list(tmp_path.iterdir())
    write_camera_file(tmp_path / "model", ring(), "colmap")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
