"""Motion from elsewhere: BVH and npz become sessions of keypoints that `handpipe fit` fits."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import SHARED_DATA

from handpipe.cli import main
from handpipe.core.errors import SessionError
from handpipe.core.hands import HANDS, JOINTS, MANO_JOINT, TIPS
from handpipe.core.storage.store import Store
from handpipe.exchange.importing import write_session
from handpipe.exchange.motion.bvh.keypoints import read_bvh
from handpipe.exchange.motion.bvh.parser import parse_bvh
from handpipe.exchange.motion.joint_names import joint_named
from handpipe.exchange.motion.keypoints3d import read_keypoints
from handpipe.hand.anatomy import bone_lengths, chirality_log_odds
from handpipe.hand.keypoints import Keypoints, guess_unit, other_hand
from handpipe.hand.model import HandModel
from handpipe.hand.procedural_motion import two_hand_motion

FIT = ["--workers", "0", "--json"]


@pytest.fixture(scope="module")
def truth():
    """(frame, hand, joint, 3) metres: 24 frames of two hands that move as people's do."""
    motion = two_hand_motion(24, 30.0, seed=3)
    joints = [
        HandModel.procedural(hand).joints(
            motion.betas[i], motion.global_orient[:, i], motion.hand_pose[:, i], motion.transl[:, i]
        )
        for i, hand in enumerate(HANDS)
    ]
    return np.stack(joints, axis=1)


MANO_ORDER = [*np.argsort(np.where(MANO_JOINT < 0, 99, MANO_JOINT), kind="stable")[:16], *TIPS]
"""smplx's: wrist, index, middle, pinky, ring, thumb, then the tips."""


def run(capsys, *argv) -> tuple[int, dict, str]:
    """Exit status, the JSON of standard output (empty without), standard error as one line."""
    status = main([str(arg) for arg in argv])
    out, err = capsys.readouterr()
    return status, json.loads(out) if out else {}, " ".join(err.split())


def wrong(capsys, *argv):
    """The one sentence of a command that must end with status 2 and without a traceback."""
    status, figures, err = run(capsys, *argv)
    assert status == 2
    assert not figures
    assert "Traceback" not in err
    return err.partition("handpipe: ")[2]


def save(path: Path, **arrays) -> Path:
    np.savez(path, **arrays)
    return path


# ---- BVH: the format ---------------------------------------------------------------------------------------------

ARM = """HIERARCHY
ROOT Shoulder
{
  OFFSET 9 9 9
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT Elbow
  {
    OFFSET 3 0 0
    CHANNELS 3 Zrotation Xrotation Yrotation
    End Site
    {
      OFFSET 0 2 0
    }
  }
}
MOTION
Frames: 2
Frame Time: 0.04
1 2 3  0 0 0  0 0 0
0 0 0  90 0 0  0 90 0
"""
"""An arm along x whose hand points up; then turned a quarter about z, and the elbow a quarter about its own x."""


def test_an_arm_one_can_follow_in_the_head():
    arm = parse_bvh(ARM)
    assert arm.names == ("Shoulder", "Elbow", "Elbow/end")
    assert arm.frame_time_s == 0.04
    np.testing.assert_allclose(arm.positions()[0], [[1, 2, 3], [4, 2, 3], [4, 4, 3]], atol=1e-12)
    # The upper arm now points along y; the forearm, turned about the upper arm, from -x to z.
    np.testing.assert_allclose(arm.positions()[1], [[0, 0, 0], [0, 3, 0], [0, 3, 2]], atol=1e-12)


def naive_position(bvh, frame: int, joint: int) -> np.ndarray:
    """One joint of one frame by 4x4 matrices from the root down."""
    T = np.eye(4)
    chain = [joint]
    while bvh.parent[chain[-1]] >= 0:
        chain.append(bvh.parent[chain[-1]])
    starts = np.cumsum([0] + [len(each) for each in bvh.channels])
    for j in reversed(chain):
        shift, R = list(bvh.offset[j]), np.eye(3)
        for k, name in enumerate(bvh.channels[j]):
            value, axis = bvh.values[frame, starts[j] + k], "xyz".index(name[0])
            if name.endswith("position"):
                shift[axis] = value
            else:
                c, s = np.cos(np.deg2rad(value)), np.sin(np.deg2rad(value))
                turn = {0: [[1, 0, 0], [0, c, -s], [0, s, c]], 1: [[c, 0, s], [0, 1, 0], [-s, 0, c]]}
                R = R @ np.array(turn.get(axis, [[c, -s, 0], [s, c, 0], [0, 0, 1]]))
        local = np.eye(4)
        local[:3, :3], local[:3, 3] = R, shift
        T = T @ local
    return T[:3, 3]


def random_bvh(rng: np.random.Generator) -> str:
    """A skeleton of any shape with channels in any order."""
    count, widths = 0, []

    def joint(depth: int, keyword: str) -> list[str]:
        nonlocal count
        count += 1
        name = f"joint{count}"
        every = ["Xrotation", "Yrotation", "Zrotation", "Xposition", "Yposition", "Zposition"]
        channels = [str(each) for each in rng.permutation(every)[: rng.integers(0, 7)]]
        widths.append(len(channels))
        lines = [f"{keyword} {name}", "{", "OFFSET " + " ".join(f"{x:.6f}" for x in rng.normal(size=3))]
        lines.append(" ".join(["CHANNELS", str(len(channels)), *channels]))
        for _ in range(rng.integers(0, 3) if depth < 4 else 0):
            lines += joint(depth + 1, "JOINT")
        if rng.random() < 0.3:
            lines += ["End Site", "{", "OFFSET 0 1 0", "}"]
        return [*lines, "}"]

    lines = ["HIERARCHY", *joint(0, "ROOT"), *(joint(0, "ROOT") if rng.random() < 0.3 else [])]
    rows = rng.uniform(-180, 180, (3, sum(widths)))
    return (
        "\n".join([*lines, "MOTION", "Frames: 3", "Frame Time: 0.01"] + [" ".join(map(str, row)) for row in rows])
        + "\n"
    )


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_any_skeleton_moves_as_its_naive_twin(seed):
    bvh = parse_bvh(random_bvh(np.random.default_rng(seed)))
    positions = bvh.positions()
    for frame in range(3):
        for joint in range(len(bvh.names)):
            np.testing.assert_allclose(positions[frame, joint], naive_position(bvh, frame, joint), atol=1e-9)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("HIERARCHY", "SKELETON", "found something else"),
        ("MOTION", "MOVES", "found no MOTION"),
        ("Frames: 2", "Frames: 3", r"expected 3 frames of 9 numbers, but found 18 numbers \(2\.0 frames\)"),
        ("90 0 0  0 90 0", "90 0 0  0", r"found 16 numbers .* truncated"),
        ("1 2 3 ", "1 two 3 ", "could not convert"),
        ("1 2 3 ", "1 nan 3 ", "frame 0 has NaN"),
        ("OFFSET 3 0 0", "OFFSET 3 0 x", "expected a number in HIERARCHY, but found 'x'"),
        ("Zrotation Xrotation Yrotation\n    End", "Zrotation Xspin Yrotation\n    End", "found 'xspin'"),
        ("JOINT Elbow", "LIMB Elbow", "found 'LIMB'"),
        ("Frames: 2", "Frames: " + "9" * 5000, "expected `Frames: <count>`"),
        ("CHANNELS 3", "CHANNELS 3.7", "channels of a joint, but found 3.7"),
        ("CHANNELS 3", "CHANNELS 1000000000000", "channels of a joint"),
        ("Frame Time: 0.04", "Frame Time: 0", "Frame Time: <seconds>"),
        ("    }\n  }\n}\n", "    }\n", "the section ends"),
    ],
)
def test_what_is_not_bvh(old, new, message):
    assert old in ARM
    with pytest.raises(SessionError, match=f"^arm.bvh: .*{message}"):
        parse_bvh(ARM.replace(old, new), "arm.bvh")


def test_more_frames_than_fit_into_memory_are_not_begun():
    """A skeleton without channels needs no numbers, so any count of frames would do."""
    still = "HIERARCHY ROOT a { OFFSET 0 0 0 CHANNELS 0 } MOTION Frames: 1000000000\nFrame Time: 0.04\n"
    with pytest.raises(SessionError, match="expected at most 20000000 places of joints"):
        parse_bvh(still)


# ---- BVH: two hands ----------------------------------------------------------------------------------------------


def test_names_of_joints():
    assert [joint_named(name, "left") for name in JOINTS] == list(JOINTS)
    for name, ours in {
        "WRIST": "wrist",
        "LeftHand": "wrist",
        "INDEX_PIP_FE": "index_pip",
        "THUMB_IP_FE": "thumb_ip",
        "THUMB_CMC_FE": None,
        "THUMB_CMC_AA": None,
        "LeftHandThumb1": "thumb_cmc",
        "LeftHandMiddle4": "middle_tip",
        "LeftHandLittle3/end": "pinky_tip",
        "LeftHandRing2/end": None,
        "RightHandRing2": None,
        "LeftForeArm": None,
        "Spine1": None,
    }.items():
        assert joint_named(name, "left") == ours, name


def write_bvh(path: Path, points: np.ndarray, frame_time_s: float = 1 / 30) -> Path:
    """Joints as so many roots that are moved about."""
    lines = ["HIERARCHY"]
    for name in JOINTS:
        lines += [f"ROOT {name.upper()}", "{", "OFFSET 0 0 0", "CHANNELS 3 Xposition Yposition Zposition", "}"]
    rows = [" ".join(f"{x:.9g}" for x in frame.ravel()) for frame in points]
    path.write_text("\n".join([*lines, "MOTION", f"Frames: {len(points)}", f"Frame Time: {frame_time_s:.6f}", *rows]))
    return path


@pytest.mark.parametrize(
    ("unit_m", "name"), [(1.0, "metres"), (0.1, "decimetres"), (0.0254, "inches"), (0.01, "centimetres")]
)
@pytest.mark.parametrize("sign", [1, -1])
def test_unit_and_handedness_are_found(truth, tmp_path, unit_m, name, sign):
    """The same motion in any unit and in left-handed coordinates gives the same keypoints, and says what was done."""
    flip = np.array([sign, 1, 1])
    files = [write_bvh(tmp_path / f"{hand}.bvh", truth[:, i] / unit_m * flip) for i, hand in enumerate(HANDS)]
    keypoints, said = read_bvh(files, sigma_m=0.002)
    np.testing.assert_allclose(keypoints.points_m, truth, atol=1e-7)
    assert keypoints.fps == 30
    assert (keypoints.sigma_m == 0.002).all()
    assert said[0].startswith(f"unit: {name}")
    assert len(said) == (2 if sign < 0 else 1)


def test_frames_can_be_thinned(truth, tmp_path, capsys):
    files = [write_bvh(tmp_path / f"{hand}.bvh", truth[:, i]) for i, hand in enumerate(HANDS)]
    keypoints, _ = read_bvh(files, 0.001, thin_to=10)
    np.testing.assert_allclose(keypoints.points_m, truth[::3], atol=1e-7)
    assert keypoints.fps == 10
    thinned = ["import", "bvh", *files, tmp_path / "out", "--thin-to", 25]
    assert "expected --thin-to to divide the recorded 30 frames" in wrong(capsys, *thinned)
    both, _ = read_bvh(files, 0.001, fps=50, thin_to=25)
    np.testing.assert_allclose(both.points_m, truth[::2], atol=1e-7)
    assert both.fps == 25


@pytest.mark.parametrize("frame_time_s", [33.333, 1 / 24])
def test_a_wrong_frame_time_is_put_right(truth, tmp_path, capsys, frame_time_s):
    """In milliseconds, or of another rate; --fps says how many frames there are in a second."""
    files = [write_bvh(tmp_path / f"{hand}.bvh", truth[:, i], frame_time_s) for i, hand in enumerate(HANDS)]
    keypoints, _ = read_bvh(files, 0.001, fps=30)
    np.testing.assert_allclose(keypoints.points_m, truth, atol=1e-7)
    assert keypoints.fps == 30
    if frame_time_s > 1:
        assert "give the frame rate with --fps" in wrong(capsys, "import", "bvh", *files, tmp_path / "out")


@pytest.mark.parametrize("name", ["MOTION_ROOT", "LOCOMOTION", "MOTION"])
def test_a_joint_with_the_name_of_a_section(name):
    assert parse_bvh(ARM.replace("Shoulder", name)).names[0] == name


@pytest.mark.parametrize("prefix", ["mixamorig:", "mixamorig9:", "Armature|mixamorig:", "mixamorig", "actor:hands:"])
def test_names_with_a_namespace(prefix):
    assert joint_named(f"{prefix}LeftHandIndex1", "left") == "index_mcp"
    assert joint_named(f"{prefix}RightHand", "right") == "wrist"
    assert joint_named(f"{prefix}RightHandThumb4/end", "left") is None
    assert joint_named(f"{prefix}LeftHandIndex1", "right") is None
    assert joint_named(f"{prefix}LeftForeArm", "left") is None


def test_two_files_of_different_recordings(truth, tmp_path, capsys):
    left = write_bvh(tmp_path / "left.bvh", truth[:, 0])
    right = write_bvh(tmp_path / "right.bvh", truth[:20, 1])
    assert "expected 24 frames, one every 0.033333 s, as in left.bvh, but found 20" in wrong(
        capsys, "import", "bvh", left, right, tmp_path / "out"
    )


def test_the_same_hand_twice_and_no_hand_at_all(truth, tmp_path, capsys):
    left = write_bvh(tmp_path / "left.bvh", truth[:, 0])
    assert "expected right hand, but by finger flexion" in wrong(capsys, "import", "bvh", left, left, tmp_path / "out")
    arm = tmp_path / "arm.bvh"
    arm.write_text(ARM)
    assert "but found Shoulder, Elbow" in wrong(capsys, "import", "bvh", arm, arm, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def manipnet(tmp_path_factory):
    """Two files of real motion capture, or a skip."""
    archive = SHARED_DATA / "manipnet_two_hand_bvh" / "manipnet_two_hand_bvh.tar.xz"
    if not archive.is_file():
        pytest.skip(f"the real motion capture is not at {archive}")
    folder = tmp_path_factory.mktemp("manipnet")
    files = {side: folder / f"{side}Hand.bvh" for side in ("left", "right")}
    with tarfile.open(archive) as tar:
        for path in files.values():
            member = next(m for m in tar if m.name.endswith(f"cup1/{path.name}"))
            content = tar.extractfile(member)
            assert content is not None
            path.write_bytes(content.read())
    return files


def test_real_motion_capture_becomes_mano(manipnet, tmp_path, capsys):
    """One sequence of ManipNet at 12 frames a second: bones keep their length, the fit is close, no hand is lost."""
    out = tmp_path / "cup"
    status, figures, err = run(
        capsys, "import", "bvh", manipnet["left"], manipnet["right"], out, "--thin-to", 12, "--json"
    )
    assert status == 0
    assert figures["frames"] == 400
    assert "unit: decimetres" in err
    assert "mirrored in x" in err
    store = Store(str(out / "session.zarr"))
    points = store.read("keypoints", "points")
    lengths = bone_lengths(points)
    assert np.nanmax(np.ptp(lengths, axis=0)) < 1e-5
    assert np.isfinite(lengths).all(axis=(0, 1)).sum() == 13
    assert (chirality_log_odds(points[:, 0]) < 0).all()
    assert (chirality_log_odds(points[:, 1]) > 0).all()
    status, figures, _ = run(capsys, "fit", out, *FIT)
    assert status == 0
    assert figures["frames_valid"] == {"left": 1.0, "right": 1.0}
    assert np.nanmedian(np.linalg.norm(store.read("mano", "joints") - points, axis=-1)) < 0.003


# ---- npz ---------------------------------------------------------------------------------------------------------


def test_every_form_of_the_file(truth, tmp_path):
    sigma = np.full(truth.shape[:3], 0.003)
    whole = read_keypoints(save(tmp_path / "a.npz", points=truth, sigma=sigma, fps=60), 0.001, None)
    apart = read_keypoints(save(tmp_path / "b.npz", left=truth[:, 0], right=truth[:, 1], sigma=0.003), 0.001, 60)
    milli = read_keypoints(save(tmp_path / "c.npz", points=1e3 * truth, sigma=3, fps=60), 0.001, None, unit_m=0.001)
    for each in (whole, apart, milli):
        np.testing.assert_allclose(each.points_m, truth)
        np.testing.assert_allclose(each.sigma_m, 0.003)
        assert each.fps == 60


def test_any_subset_of_joints_in_any_order(truth, tmp_path):
    names = ["pinky_tip", "wrist", "index_mcp", "middle_mcp"]
    columns = [JOINTS.index(name) for name in names]
    file = save(tmp_path / "few.npz", points=truth[:, :, columns], joints=np.array(names), fps=30)
    found = read_keypoints(file, 0.001, None)
    np.testing.assert_array_equal(found.points_m[:, :, columns], truth[:, :, columns])
    others = np.setdiff1d(np.arange(21), columns)
    assert np.isnan(found.points_m[:, :, others]).all()
    assert np.isnan(found.sigma_m[:, :, others]).all()


def test_one_hand_alone_is_fitted_and_the_other_never_valid(truth, tmp_path, capsys):
    file = save(tmp_path / "right.npz", right=truth[:, 1], fps=30)
    assert run(capsys, "import", "keypoints", file, tmp_path / "out")[0] == 0
    status, figures, _ = run(capsys, "fit", tmp_path / "out", *FIT)
    fingerprint = Store(str(tmp_path / "out" / "session.zarr")).fingerprint("shape")
    assert fingerprint is not None
    assert fingerprint["settings"]["landmark_offsets"] is False, "imported joints are taken for what they say they are"
    assert status == 0
    assert figures["frames_valid"] == {"left": 0.0, "right": 1.0}


def exchanged(one: str, other: str) -> np.ndarray:
    """The joints with two fingers in each other's place."""
    order = np.arange(len(JOINTS))
    a, b = JOINTS.index(f"{one}_mcp"), JOINTS.index(f"{other}_mcp")
    order[a : a + 4], order[b : b + 4] = np.arange(b, b + 4), np.arange(a, a + 4)
    return order


def first(points: np.ndarray) -> np.ndarray:
    """A fifth of the frames."""
    return np.arange(len(points))[:, None, None, None] < len(points) // 5


def zeroed(points: np.ndarray, joint: int) -> np.ndarray:
    """A joint that is (0, 0, 0) in every third frame, as some write what they did not see."""
    points = points.copy()
    points[::3, :, joint] = 0
    return points


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: {"points": 1e3 * p}, r"metres, .* a palm of [\d.]+ m; looks like millimetres: use --unit-m 0\.001"),
        (lambda p: {"points": 1e2 * p}, r"looks like centimetres: use --unit-m 0\.01"),
        (lambda p: {"points": 20 * p}, "check the unit"),
        (lambda p: {"points": p[:, ::-1]}, r"left and right hand, .* \(use --swap-hands\), .* \(use --mirror\)"),
        (lambda p: {"left": p[:, 1]}, "expected left hand, .* it has the shape of the other"),
        (lambda p: {"points": np.full_like(p, np.nan)}, "every joint of both is NaN"),
        (lambda p: {"points": p[:, :, MANO_ORDER]}, "the bone lengths indicate another one: MANO's"),
        (lambda p: {"points": p[:, :, exchanged("index", "middle")]}, "left hand's fingers side by side as index, mid"),
        (lambda p: {"points": p[:, :, exchanged("ring", "pinky")]}, "knuckles lie in another order"),
        (
            lambda p: {"points": np.where(first(p), 1e3 * p, p)},
            r"one size, but \d+ of \d+ are not: the left one",
        ),
        (lambda p: {"points": 1e200 * p}, "within 10 km of the origin"),
        (lambda p: {"points": p + 1e5}, "within 10 km of the origin"),
        (lambda p: {"points": zeroed(p, joint=8)}, r"at exactly \(0, 0, 0\): left index_tip in frame 0"),
        (
            lambda p: {"points": p, "sigma": 1.0},
            "standard errors of some millimetres, but their median is 1 m",
        ),
        (lambda p: {"points": p, "sigma": np.array("1")}, "expected numbers in `sigma`, but found <U1"),
        (lambda p: {"points": p, "sigma": np.array(1j)}, "expected numbers in `sigma`, but found complex128"),
        (
            lambda p: {"points": p[:, :, :20]},
            "expected a joint for each of 21 different names .* 21 names for 20 joints",
        ),
        (lambda p: {"points": p[:, :, :2], "joints": ["wrist", "thumb"]}, "found unknown thumb"),
        (lambda p: {"points": p[:, :, :2], "joints": ["wrist", "wrist"]}, "1 names for 2 joints"),
        (lambda p: {"points": p[:, 0]}, r"expected `points` of shape \(frame, 2 hands, joint, 3\), but found"),
        (lambda p: {"points": p[:0]}, r"but found \(0, 2, 21, 3\)"),
        (lambda p: {"left": p[:, 0], "right": p[:-1, 1]}, "of one shape"),
        (lambda p: {"points": np.where(p > 0.05, np.inf, p)}, "infinity"),
        (lambda p: {"points": p.astype(str)}, "expected numbers"),
        (lambda p: {"points": p, "left": p[:, 0]}, "expected `points`, or `left` and `right`"),
        (lambda p: {"pionts": p}, "but found fps, pionts"),
        (lambda p: {"points": p, "fps": np.array([30, 60])}, "expected frames per second"),
        (lambda p: {"points": p, "sigma": np.ones(5)}, r"one that broadcasts to it, but found \(5,\)"),
        (lambda p: {"points": p, "sigma": 0.0}, r"expected standard errors \(sigma\) above zero, but found 0\. Give"),
        (lambda p: {"points": p.astype(object)}, "Object arrays cannot be loaded"),
    ],
)
def test_what_is_not_two_hands_in_metres(truth, tmp_path, capsys, change, message):
    file = save(tmp_path / "bad.npz", **{"fps": 30, **change(truth)})
    with pytest.raises(SessionError, match=message):
        main(["import", "keypoints", str(file), str(tmp_path / "out"), "--debug"])
    assert "bad.npz: expected" in wrong(capsys, "import", "keypoints", file, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_joints_from_the_wrist_are_no_missing_ones(truth, tmp_path, capsys):
    """The wrist is the origin of every frame: that one joint is zero throughout says nothing against it."""
    file = save(tmp_path / "k.npz", left=truth[:, 0] - truth[:, 0, :1], fps=30)
    assert main(["import", "keypoints", str(file), str(tmp_path / "out")]) == 0


@pytest.mark.parametrize("suffix", ["npz", "trc", "csv", "glb", "bvh"])
def test_pipes_and_devices_are_not_waited_for(tmp_path, capsys, suffix):
    os.mkfifo(tmp_path / f"pipe.{suffix}")
    (tmp_path / f"zero.{suffix}").symlink_to("/dev/zero")
    for name in ("pipe", "zero"):
        file = tmp_path / f"{name}.{suffix}"
        files = ("bvh", file, file) if suffix == "bvh" else ("keypoints", file)
        assert "but found no plain file" in wrong(capsys, "import", *files, tmp_path / "out")


def test_an_encrypted_npz(truth, tmp_path, capsys):
    file = save(tmp_path / "k.npz", points=truth, fps=30)
    data = bytearray(file.read_bytes())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + at] |= 1
    file.write_bytes(data)
    assert "is encrypted" in wrong(capsys, "import", "keypoints", file, tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not an npz"])
def test_not_an_npz(tmp_path, capsys, content):
    (tmp_path / "x.npz").write_bytes(content)
    assert "expected an .npz" in wrong(capsys, "import", "keypoints", tmp_path / "x.npz", tmp_path / "out")
    assert "no such file" in wrong(capsys, "import", "keypoints", tmp_path / "y.npz", tmp_path / "out")


def test_the_remedies_that_messages_name_work(truth, tmp_path, capsys):
    for flags, points in (
        (["--unit-m", "0.001"], 1e3 * truth),
        (["--swap-hands"], truth[:, ::-1]),
        (["--mirror"], truth * [-1, 1, 1]),
    ):
        file = save(tmp_path / "bad.npz", points=points, fps=30)
        assert wrong(capsys, "import", "keypoints", file, tmp_path / "out")
        assert run(capsys, "import", "keypoints", file, tmp_path / "out", *flags)[0] == 0
        np.testing.assert_allclose(
            Store(str(tmp_path / "out/session.zarr")).read("keypoints", "points"), truth, atol=1e-6
        )


@pytest.mark.parametrize("flag", ["--fps", "--unit-m", "--sigma-m"])
def test_numbers_that_make_no_sense(truth, tmp_path, capsys, flag):
    file = save(tmp_path / "a.npz", points=truth, fps=30)
    assert "above zero" in wrong(capsys, "import", "keypoints", file, tmp_path / "out", flag, "0")


def test_flat_hands_are_neither_left_nor_right():
    """Where the shape says nothing, nothing is said."""
    flat = np.stack([HandModel.procedural(hand).joints(*map(np.zeros, (10, 3, 45, 3))) for hand in HANDS])
    flat[..., 1] = 0
    assert other_hand(flat[None]) == ()
    assert guess_unit(np.full((1, 2, 21, 3), np.nan)) == ("metres", 1.0)


# ---- the session -------------------------------------------------------------------------------------------------


@pytest.fixture
def session(truth, tmp_path):
    file = save(tmp_path / "truth.npz", points=truth, fps=30)
    assert main(["import", "keypoints", str(file), str(tmp_path / "session")]) == 0
    return tmp_path / "session"


def test_an_imported_session_is_fitted_once(session, truth, capsys):
    status, figures, err = run(capsys, "fit", session, *FIT)
    assert status == 0
    assert "mano" in figures["computed"]
    assert figures["views"] == 0
    assert figures["frames"] == len(truth)
    assert "24 at 30 fps" in err
    data = xr.open_zarr(session / "session.zarr", group="mano")
    assert np.median(np.linalg.norm(data.joints.values - truth, axis=-1)) < 0.002
    assert xr.open_zarr(session / "session.zarr", group="keypoints").points.dims == ("frame", "hand", "joint", "xyz")
    assert run(capsys, "run", session, *FIT)[1]["computed"] == []
    changed = run(capsys, "run", session, *FIT, "--fitting.finger-acceleration-sd", "5")
    assert "mano" in changed[1]["computed"]


def test_the_same_import_again_changes_nothing_and_another_one_replaces_it(session, truth, tmp_path, capsys):
    assert run(capsys, "fit", session, *FIT)[0] == 0
    assert run(capsys, "import", "keypoints", tmp_path / "truth.npz", session, "--json")[1]["computed"] == []
    assert run(capsys, "fit", session, *FIT)[1]["computed"] == []
    save(tmp_path / "truth.npz", points=truth[:12], fps=30)
    assert run(capsys, "import", "keypoints", tmp_path / "truth.npz", session, "--json")[1]["computed"] == ["keypoints"]
    figures = run(capsys, "fit", session, *FIT)[1]
    assert "mano" in figures["computed"]
    assert figures["frames"] == 12
    assert sorted(path.name for path in session.iterdir()) == ["session.zarr"]


def test_what_needs_clips_says_so(session, capsys):
    for argv in (["calibrate"], ["detect"], ["triangulate"]):
        assert "has imported keypoints and no clips" in wrong(capsys, *argv, session, *FIT)
    assert "no clips" in wrong(capsys, "run", session, *FIT, "--until", "triangulate")
    assert "--prune" in wrong(capsys, "fit", session, *FIT, "--prune", "2")
    assert "expected `fps` as imported, 30, but it is set to 60" in wrong(capsys, "fit", session, *FIT, "--fps", "60")


def test_a_filmed_session_is_not_imported_into(truth, tmp_path, capsys):
    file = save(tmp_path / "truth.npz", points=truth, fps=30)
    (tmp_path / "filmed" / "videos").mkdir(parents=True)
    assert "holds a filmed session" in wrong(capsys, "import", "keypoints", file, tmp_path / "filmed")
    Store(str(tmp_path / "other" / "session.zarr")).open()
    assert "holds a filmed session" in wrong(capsys, "import", "keypoints", file, tmp_path / "other")


def test_a_file_where_the_session_should_go(truth, tmp_path, capsys):
    file = save(tmp_path / "truth.npz", points=truth, fps=30)
    assert "expected a folder, or nothing yet, but found a file" in wrong(capsys, "import", "keypoints", file, file)
    assert "but found a folder" in wrong(capsys, "import", "keypoints", tmp_path, tmp_path / "out")
    assert "but found a folder" in wrong(capsys, "import", "bvh", tmp_path, tmp_path, tmp_path / "out")


def test_an_import_that_fails_half_way_leaves_what_was_there(session, truth, monkeypatch):
    before = {path: path.read_bytes() for path in session.rglob("*") if path.is_file()}
    longer = np.concatenate([truth] * 60)
    keypoints = Keypoints(longer, np.full(longer.shape[:3], 0.001), 30.0)
    write = Store.write

    def fail_at_the_second(self, group, unit, blocks):
        if tuple(unit) == (1,):
            raise KeyboardInterrupt
        write(self, group, unit, blocks)

    monkeypatch.setattr(Store, "write", fail_at_the_second)
    for root in (session, session.parent / "new"):
        with pytest.raises(KeyboardInterrupt):
            write_session(root, keypoints, {}, {})
    assert {
        path: path.read_bytes() for path in session.rglob("*") if path.is_file() and ".partial" not in str(path)
    } == before
    assert not (session.parent / "new" / "session.zarr").exists()
    monkeypatch.undo()
    assert write_session(session.parent / "new", keypoints, {}, {})
    assert sorted(path.name for path in (session.parent / "new").iterdir()) == ["session.zarr"]
    np.testing.assert_allclose(
        Store(str(session.parent / "new/session.zarr")).read("keypoints", "points"), longer, atol=1e-6
    )


def test_killed_at_any_moment_there_is_a_whole_session_or_none(truth, tmp_path):
    """SIGKILL the real command; whenever session.zarr is there, it is complete."""
    longer = np.concatenate([truth] * 400)
    file = save(tmp_path / "long.npz", points=longer, fps=30)
    command = [sys.executable, "-m", "handpipe.cli", "import", "keypoints", str(file), str(tmp_path / "out")]
    store, killed = Store(str(tmp_path / "out" / "session.zarr")), 0
    for _ in range(2):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not (tmp_path / "out").exists():
            time.sleep(0.005)
        time.sleep(0.02)
        killed += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert store.complete("keypoints") or not (tmp_path / "out" / "session.zarr").exists()
        shutil.rmtree(tmp_path / "out", ignore_errors=os.name == "nt")
    assert killed
    subprocess.run(command, check=True, capture_output=True)
    assert store.complete("keypoints")
