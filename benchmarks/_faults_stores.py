"""Faults of stores and results: two at once, inputs that change, and files from strangers."""

from __future__ import annotations

import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from _faults_motion import Glb, exported, keypoints_npz, mano_arrays, stored_points
from _faults_planting import Fault, Ran, Seen, handpipe, put_right, told
from _faults_sessions import FRAMES, checked, encode, one_clip, session, timestamps
from numpy.random import Generator

from handpipe.capture import detect
from handpipe.capture.detector import Candidates
from handpipe.core.storage.lock import claimed

FAULTS: list[Fault] = []


def fault(kind: str, name: str) -> Callable[[Callable[[Path, Generator], Seen]], None]:
    return lambda plant: FAULTS.append(Fault(kind, name, plant))


changed, stranger = (
    lambda name, kind=kind: fault(kind, name) for kind in ("two at once, changed inputs", "strangers' files")
)


def _motion(folder: Path, rng: Generator, name: str) -> Path:
    """A fitted session of drawn motion."""
    np.savez(folder / f"{name}.npz", **mano_arrays(rng)[0])  # pyright: ignore[reportArgumentType]
    ran = handpipe("import", "mano-motion", folder / f"{name}.npz", folder / name)
    assert ran.status == 0, ran.said
    return folder / name


# ---- two at once ---------------------------------------------------------------------------------------------------


@changed("two exports to one place")
def _(folder: Path, rng: Generator) -> Seen:
    out, format = folder / "out", str(rng.choice(["csv", "trc", "mano", "bvh"]))
    one, other = (_motion(folder, rng, name) for name in "ab")
    assert handpipe("export", format, one, "--out", out).status == 0
    return told(handpipe("export", format, other, "--out", out), "expected nothing there yet", "--force")


@changed("an export while another writes there")
def _(folder: Path, rng: Generator) -> Seen:
    source, out = _motion(folder, rng, "a"), folder / "out.csv"
    with claimed(out):
        return told(handpipe("export", "csv", source, "--out", out), "out.csv", "another|in use|running")


@changed("an import while another writes there")
def _(folder: Path, rng: Generator) -> Seen:
    root = _motion(folder, rng, "a")
    np.savez(folder / "b.npz", **mano_arrays(rng)[0])  # pyright: ignore[reportArgumentType]
    with claimed(root / "session.zarr"):
        return told(handpipe("import", "mano-motion", folder / "b.npz", root), "another|in use|running")


@changed("other motion imported to the same session")
def _(folder: Path, rng: Generator) -> Seen:
    root = _motion(folder, rng, "a")
    numbers, points = mano_arrays(rng)
    np.savez(folder / "b.npz", **numbers)  # pyright: ignore[reportArgumentType]
    ran = handpipe("import", "mano-motion", folder / "b.npz", root)
    return put_right(ran, ran.status == 0 and np.allclose(stored_points(root, "mano"), points, atol=1e-4))


@changed("keypoints imported into a filmed session")
def _(folder: Path, rng: Generator) -> Seen:
    root, _ = session(folder / "s", rng)
    assert checked(root).status == 0
    path = keypoints_npz(folder / "k.npz", mano_arrays(rng)[1])
    return told(handpipe("import", "keypoints", path, root), "videos|clips|session|cameras")


class _Blind:
    """A detector that finds nothing, and during which something happens."""

    def __init__(self, happens: Callable[[], object]) -> None:
        self.happens = happens

    def detect(self, image_bgr: object) -> Candidates:
        self.happens()
        return Candidates(np.zeros((0, 21, 2), np.float32), np.zeros(0, np.float32), np.zeros(0, np.float32))


def _detected(root: Path, happens: Callable[[], object]) -> Ran:
    """`detect` without looking at images."""
    make = detect.make_detector
    detect.make_detector = lambda options: _Blind(happens)  # pyright: ignore[reportAttributeAccessIssue]
    try:
        return handpipe("detect", root, "--workers", 0, "--json")
    finally:
        detect.make_detector = make


@changed("a clip is replaced during a run")
def _(folder: Path, rng: Generator) -> Seen:
    root, _ = session(folder / "s", rng)
    path = one_clip(root, rng)
    encode(folder / "other.mp4", rng)
    return told(_detected(root, lambda: shutil.copy(folder / "other.mp4", path)), path.name, "stay as they are")


@changed("timestamps are written during a run")
def _(folder: Path, rng: Generator) -> Seen:
    root, rig = session(folder / "s", rng)
    times = np.arange(FRAMES) / 25
    timestamps(root, rig, times)
    late = float(rng.uniform(1, 9))
    return told(_detected(root, lambda: timestamps(root, rig, times + late)), "timestamps.csv", "stay as they are")


@changed("a clip is replaced between two runs")
def _(folder: Path, rng: Generator) -> Seen:
    root, _ = session(folder / "s", rng)
    assert _detected(root, lambda: None).status == 0
    encode(one_clip(root, rng), rng)
    ran = _detected(root, lambda: None)
    return put_right(ran, "detections" in ran.figures.get("computed", []))


@changed("another rate between two runs")
def _(folder: Path, rng: Generator) -> Seen:
    root, _ = session(folder / "s", rng)
    assert _detected(root, lambda: None).status == 0
    (root / "session.yaml").write_text(f"fps: {int(rng.choice([20, 30, 50]))}\n")
    ran = _detected(root, lambda: None)
    return put_right(ran, "timeline" in ran.figures.get("computed", []))


def _attribute(root: Path, group: str, name: str, value: Any) -> None:
    path = root / "session.zarr" / group / "zarr.json"
    node = json.loads(path.read_text())
    node["attributes"][name] = value
    path.write_text(json.dumps(node))


@changed("motion that is not finished")
def _(folder: Path, rng: Generator) -> Seen:
    root = _motion(folder, rng, "a")
    _attribute(root, "mano", "complete", False)
    return told(handpipe("export", "csv", root, "--out", folder / "out.csv"), "finished|complete|not ")


@changed("a result of other code")
def _(folder: Path, rng: Generator) -> Seen:
    root, _ = session(folder / "s", rng)
    assert checked(root).status == 0
    made_from = json.loads((root / "session.zarr/cameras/zarr.json").read_text())["attributes"]["fingerprint"]
    _attribute(root, "cameras", "fingerprint", {**made_from, "code": int(rng.integers(100, 999))})
    ran = checked(root)
    return put_right(ran, "cameras" in ran.figures.get("computed", []))


# ---- strangers -----------------------------------------------------------------------------------------------------


def _text(name: str, text: Callable[[Generator], str], *reasons: str) -> Callable[[Path, Generator], Seen]:
    """A file of a session with this text."""

    def plant(folder: Path, rng: Generator) -> Seen:
        root, _ = session(folder / "s", rng)
        (root / name).write_text(text(rng))
        return told(checked(root), name, *reasons)

    return plant


def _digits(rng: Generator) -> str:
    return "9" * int(rng.integers(4000, 9000))


def _nested(opening: str) -> Callable[[Generator], str]:
    return lambda rng: opening * int(rng.integers(20_000, 60_000))


stranger("deep nesting in session.yaml")(_text("session.yaml", _nested("["), "nest|deep"))
stranger("a number of thousands of digits in session.yaml")(_text("session.yaml", lambda rng: f"fps: {_digits(rng)}\n"))
stranger("deep nesting in cameras.toml")(
    _text("cameras.toml", lambda rng: "a = " + _nested("[")(rng), "nest|deep|TOML")
)
stranger("a number of thousands of digits in timestamps.csv")(
    _text("timestamps.csv", lambda rng: f"sync_index,cam_id,frame_index,frame_time\n{_digits(rng)},c0,0,0\n", "line 2")
)


@stranger("a pipe or a device in a session")
def _(folder: Path, rng: Generator) -> Seen:
    root, _ = session(folder / "s", rng)
    path = root / str(rng.choice(["session.yaml", "timestamps.csv", "cameras.toml", "videos/c9.mp4"]))
    path.unlink(missing_ok=True)
    if rng.integers(2):
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    return told(checked(root), path.name)


def _numbers(change: Callable[[dict[str, Any], Generator], object]) -> Callable[[Path, Generator], Seen]:
    """An npz of MANO motion in which an array is not one of numbers."""

    def plant(folder: Path, rng: Generator) -> Seen:
        arrays, _ = mano_arrays(rng)
        change(arrays, rng)
        np.savez(folder / "m.npz", **arrays)  # pyright: ignore[reportArgumentType]
        return told(handpipe("import", "mano-motion", folder / "m.npz", folder / "s"), "m.npz")

    return plant


def _of_type(dtype: Any) -> Callable[[dict[str, Any], Generator], None]:
    def change(arrays: dict[str, Any], rng: Generator) -> None:
        name = str(rng.choice(["left_transl", "right_hand_pose", "fps", "right_betas"]))
        arrays[name] = arrays[name].astype(dtype)

    return change


stranger("an array of text")(_numbers(_of_type(str)))
stranger("an array of objects")(_numbers(_of_type(object)))
stranger("an array of complex numbers")(_numbers(_of_type(complex)))


@stranger("a zip bomb")
def _(folder: Path, rng: Generator) -> Seen:
    head = io.BytesIO()
    shape = (int(rng.integers(1 << 20, 1 << 30)), 2, 21, 3)
    np.lib.format.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(folder / "k.npz", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("points.npy", head.getvalue() + bytes(1 << 24))
    return told(handpipe("import", "keypoints", folder / "k.npz", folder / "s"), "k.npz|memory")


@stranger("an edited attribute")
def _(folder: Path, rng: Generator) -> Seen:
    root = _motion(folder, rng, "a")
    name, value = [
        *(("fps", 0), ("fps", "thirty"), ("hand_model", ["left"]), ("chunk_frames", -4), ("complete", "yes")),
        *(("unit_dims", "frame"), ("fingerprint", 3)),
    ][int(rng.integers(7))]
    _attribute(root, "mano", name, value)
    return told(handpipe("export", "csv", root, "--out", folder / "out.csv"), f"attribute `{name}`")


@stranger("a frame rate of 0 in a store")
def _(folder: Path, rng: Generator) -> Seen:
    root = _motion(folder, rng, "a")
    _attribute(root, "mano", "fps", 0)
    return told(handpipe("export", str(rng.choice(["bvh", "trc", "gltf"])), root, "--out", folder / "out"), "`fps`")


@stranger("a column of another type in a hub folder")
def _(folder: Path, rng: Generator) -> Seen:
    root = _motion(folder, rng, "a")
    assert handpipe("export", "hub", root, "--out", folder / "hub").status == 0
    path = next((folder / "hub" / "data").glob("*.parquet"))
    table = pq.read_table(path)
    read = [name for name in table.column_names if name not in ("sequence", "time_s")]
    column = str(rng.choice(read))
    other = pa.array([str(value) for value in range(len(table))] if rng.integers(2) else [[1.5]] * len(table))
    pq.write_table(table.set_column(table.column_names.index(column), column, other), path)
    return told(handpipe("import", "hub", folder / "hub", folder / "back"), path.name, column)


@stranger("a glTF that counts beyond its data")
def _(folder: Path, rng: Generator) -> Seen:
    path, _ = exported(folder, rng, "gltf", "k.glb")
    glb = Glb(path)
    entry = glb.json["accessors"][glb.samplers[0]["output"]]
    entry["count"] = int(rng.choice([10**9, 10**18, -1]))
    return told(handpipe("import", "keypoints", glb.save(), folder / "s"), "k.glb", "accessors inside the buffer|keys")


@stranger("a BVH of a million levels")
def _(folder: Path, rng: Generator) -> Seen:
    levels = int(rng.integers(20_000, 60_000))
    joint = "JOINT j\n{\nOFFSET 0 0 0\nCHANNELS 3 Zrotation Xrotation Yrotation\n"
    (folder / "h.bvh").write_text("HIERARCHY\n" + joint.replace("JOINT", "ROOT") + joint * levels)
    return told(handpipe("import", "bvh", folder / "h.bvh", folder / "h.bvh", folder / "s"), "h.bvh")


@stranger("deep nesting in detections")
def _(folder: Path, rng: Generator) -> Seen:
    root, rig = session(folder / "s", rng)
    path = folder / f"{rig.names[0]}.json"
    path.write_text('{"people": ' + "[" * int(rng.integers(20_000, 90_000)))
    return told(handpipe("import", "keypoints2d", root, path), path.name)


@stranger("a clip that is no video")
def _(folder: Path, rng: Generator) -> Seen:
    root, _ = session(folder / "s", rng)
    path = one_clip(root, rng)
    path.write_bytes(rng.bytes(int(rng.integers(0, 5000))))
    return told(checked(root), path.name)
