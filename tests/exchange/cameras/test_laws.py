"""Laws that every camera format keeps, over the registry: a new format is tested here by being there."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.strategies import integers, sampled_from
from scipy.spatial.transform import Rotation

from handpipe.core.cameras import Cameras
from handpipe.core.cameras_file import MAX_BYTES, read_cameras
from handpipe.core.errors import CalibrationError
from handpipe.exchange.cameras.formats import FORMATS, WRITTEN, losses, read_camera_file, write_camera_file

NUMBERED = {"caliscope": 0, "dlt": 1}
"""Formats that know views by number, and the first."""
PINHOLE = ("interhand", "dlt")
"""Formats that hold neither lens distortion nor image sizes."""
NAMES = ("c0", "Kamera links", "caméra_é", "0012", "左", 'q"x\\', "b<&>", "c10", "c2")


def random_rig(seed: int, views: int | None = None, fisheye: bool = False) -> Cameras:
    """1 to 6 cameras around the origin, which all of them see, with names that are not easy."""
    rng = np.random.default_rng(seed)
    views = views or int(rng.integers(1, 7))
    K = np.tile(np.eye(3), (views, 1, 1))
    K[:, [0, 1], [0, 1]] = rng.uniform(600, 900, (views, 2))
    K[:, :2, 2] = rng.uniform(300, 900, (views, 2))
    T = np.tile(np.eye(4), (views, 1, 1))
    T[:, :3, :3] = Rotation.from_quat(rng.normal(size=(views, 4))).as_matrix()
    T[:, :3, 3] = rng.uniform([-0.1, -0.1, 0.5], [0.1, 0.1, 2.0], (views, 3))
    names = tuple(rng.permutation(NAMES)[:views].tolist())
    bent = rng.normal(0, 0.02, (views, 5))
    is_fisheye = rng.random(views) < 0.5 if fisheye else np.zeros(views, bool)
    bent[is_fisheye, 4] = 0
    return Cameras(names, K, bent, T, rng.integers(480, 1921, (views, 2)), is_fisheye)


def named_for(rig: Cameras, format: str) -> Cameras:
    """The rig under the names that come back from the format."""
    if format in NUMBERED:
        return replace(rig, names=tuple(f"cam_{i + NUMBERED[format]}" for i in range(len(rig))))
    if format == "colmap":
        return replace(rig, names=tuple(name.replace(" ", "_") for name in rig.names))
    return rig


def assert_same(back: Cameras, rig: Cameras, format: str) -> None:
    order = [back.names.index(name) for name in rig.names]
    assert len(back) == len(rig)
    exact = format != "dlt"
    np.testing.assert_allclose(back.T_cam_world[order], rig.T_cam_world, atol=1e-12 if exact else 1e-9)
    np.testing.assert_allclose(back.K[order], rig.K, rtol=1e-15 if exact else 1e-9, atol=0 if exact else 1e-9)
    if format in PINHOLE:
        assert not back.distortion.any()
        assert not back.size_px.any()
        assert not back.fisheye.any()
    else:
        np.testing.assert_array_equal(back.distortion[order], rig.distortion)
        np.testing.assert_array_equal(back.size_px[order], rig.size_px)
        np.testing.assert_array_equal(back.fisheye[order], rig.fisheye)


@settings(deadline=None, max_examples=120)
@given(seed=integers(0, 2**32 - 1), format=sampled_from(WRITTEN), fisheye=sampled_from([False, True]))
def test_what_is_written_comes_back(tmp_path_factory, seed, format, fisheye):
    rig = named_for(random_rig(seed, fisheye=fisheye), format)
    path = tmp_path_factory.mktemp("rig") / f"rig{''.join(FORMATS[format].suffixes[:1])}"
    assert write_camera_file(path, rig, format) == losses(rig, format)
    found = read_camera_file(str(path))
    assert (found.format, found.unit_m) == (format, FORMATS[format].unit_m)
    assert_same(found.cameras, rig, format)


@pytest.mark.parametrize("format", WRITTEN)
def test_a_view_without_calibration_is_left_out_and_said(tmp_path, format):
    rig = named_for(random_rig(1, views=3), format)
    K = rig.K.copy()
    K[2] = np.nan
    said = write_camera_file(tmp_path / "rig", replace(rig, K=K), format)
    assert said[0] == f"{rig.names[2]}: left out, it has no calibration"
    assert_same(read_camera_file(str(tmp_path / "rig")).cameras, rig.subset([0, 1]), format)


@pytest.mark.parametrize("format", WRITTEN)
def test_every_loss_is_said(format):
    """A format that gives other cameras back than were written says so, and one that does not says nothing."""
    rig = random_rig(2, views=4, fisheye=True)
    told = " ".join(losses(rig, format))
    for word, formats in {"names: ": tuple(NUMBERED), "lenses: ": PINHOLE, "sizes: ": PINHOLE}.items():
        assert format not in formats or word in told
    if not FORMATS[format].loses:
        assert told == ""


@pytest.mark.parametrize("format", WRITTEN)
def test_one_format_recognises_a_file(tmp_path, format):
    path = tmp_path / "rig"
    write_camera_file(path, named_for(random_rig(3), format), format)
    text = "" if path.is_dir() or format == "npz" else path.read_text()
    assert [name for name, other in FORMATS.items() if other.recognises(path, text)] == [format]


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_describes_itself(format):
    entry = FORMATS[format]
    assert all((entry.title, entry.reads, entry.names, entry.pose, entry.pixel, entry.lens))
    assert bool(entry.writes) == (entry.write is not None)
    assert entry.writes or format in ("qualisys", "vicon")


@pytest.mark.parametrize("format", [name for name in WRITTEN if name != "npz"])
def test_a_byte_order_mark_changes_nothing(tmp_path, format):
    rig, path = named_for(random_rig(4), format), tmp_path / "rig"
    write_camera_file(path, rig, format)
    for file in [path] if path.is_file() else list(path.iterdir()):
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert_same(read_camera_file(str(path)).cameras, rig, format)
    if format == "aniposelib":
        assert read_cameras(path).names == rig.names


HOSTILE = ("nan", "1e400", "1e30", "-1e30", "9" * 400, "[" * 5000, "true", '"x"', "{}", "")


@settings(deadline=None, max_examples=150)
@given(seed=integers(0, 2**32 - 1), format=sampled_from([name for name in WRITTEN if name != "npz"]))
def test_an_altered_number_is_a_sentence(tmp_path_factory, seed, format):
    """Any number of a file replaced by something impossible: cameras of finite numbers, or an error that names it."""
    rng = np.random.default_rng(seed)
    path = tmp_path_factory.mktemp("rig") / "rig"
    write_camera_file(path, named_for(random_rig(5, views=2), format), format)
    files = [path] if path.is_file() else [path / "cameras.txt", path / "images.txt"]
    file = files[rng.integers(len(files))]
    words = file.read_text().split("-0." if rng.random() < 0.2 else "0.")
    place = int(rng.integers(1, len(words))) if len(words) > 1 else 0
    words[place] = str(rng.choice(HOSTILE)) + words[place].lstrip("0123456789e-")
    file.write_text("0.".join(words))
    found, message = None, ""
    try:
        found = read_camera_file(str(path)).cameras
    except CalibrationError as error:
        message = str(error)
    if found is None:
        assert str(path) in message
        assert ": expected " in message
    else:
        assert np.isfinite(found.K).all()
        assert np.isfinite(found.T_cam_world).all()


def test_what_is_too_large_or_no_file_is_not_read(tmp_path):
    path = tmp_path / "cameras.toml"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    for read in (read_cameras, read_camera_file):
        with pytest.raises(CalibrationError, match="expected a camera file of at most 64 MiB"):
            read(str(path))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CalibrationError, match="found no plain file"):
        read_camera_file(str(tmp_path / "pipe"))
    write_camera_file(tmp_path / "c.json", random_rig(0), "json")
    with pytest.raises(CalibrationError, match=r"a path alone for the format json, but found #7"):
        read_camera_file(f"{tmp_path / 'c.json'}#7")


@pytest.mark.parametrize("unit_m", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_unit(tmp_path, unit_m):
    write_camera_file(tmp_path / "c.json", random_rig(0), "json")
    with pytest.raises(CalibrationError, match="--unit-m: expected a positive number of metres"):
        read_camera_file(str(tmp_path / "c.json"), unit_m)
