"""Motion out and back: every format's round trip, its real readers, and what is not that format."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import smplx
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from stored_motions import clip, fitted, generated, without

from handpipe.cli import main
from handpipe.core import files
from handpipe.core.errors import SessionError
from handpipe.core.hands import HANDS, JOINTS
from handpipe.core.storage.store import Store
from handpipe.exchange.importing import write_models
from handpipe.exchange.motion.bvh.parser import parse_bvh
from handpipe.exchange.motion.bvh.writer import euler_deg
from handpipe.exchange.motion.csv import parse_csv
from handpipe.exchange.motion.trc import parse_trc
from handpipe.hand.procedural import procedural_hand

COLUMNS = ("betas", "global_orient", "hand_pose", "transl", "joints", "valid")
GAP = slice(5, 9)
"""The left hand is not seen in these frames."""


@pytest.fixture(scope="module")
def arrays():
    return without(clip(), 0, GAP)


@pytest.fixture(scope="module")
def session(arrays, tmp_path_factory):
    return fitted(tmp_path_factory.mktemp("sessions") / "hands", arrays)


@pytest.fixture(scope="module")
def exported(session, tmp_path_factory):
    """One sequence in every format: the folder."""
    out = tmp_path_factory.mktemp("exported")
    for kind, suffix in FILES.items():
        assert main(["export", kind, str(session), "--out", str(out / f"{kind}{suffix}")]) == 0
    return out


FILES = {"mano": ".npz", "gltf": ".glb", "bvh": ".bvh", "trc": ".trc", "csv": ".csv", "keypoints3d": ".npz"}


def run(capsys, *argv) -> tuple[int, dict, str]:
    """Exit status, the JSON of standard output (empty without), standard error as one line."""
    status = main([str(arg) for arg in argv])
    out, err = capsys.readouterr()
    return status, json.loads(out) if out else {}, " ".join(err.split())


def refused(capsys, tmp_path, *argv) -> str:
    """The one sentence of an import that must end with status 2 and leave nothing."""
    status, _, err = run(capsys, "import", *argv, tmp_path / "out")
    assert status == 2
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()
    return err.partition("handpipe: ")[2]


def imported(root: Path, group: str, name: str) -> np.ndarray:
    return Store(str(root / "session.zarr")).read(group, name)


# ---- MANO ------------------------------------------------------------------------------------------------------


def test_mano_comes_back_bit_for_bit(exported, arrays, tmp_path, capsys):
    root = tmp_path / "back"
    status, figures, _ = run(capsys, "import", "mano-motion", exported / "mano.npz", root, "--json")
    assert (status, figures["frames"], figures["fps"], figures["computed"]) == (0, 24, 30.0, ["mano"])
    assert figures["frames_with_hand"] == {"left": 20 / 24, "right": 1.0}
    for name in COLUMNS:
        back = imported(root, "mano", name)
        assert back.dtype == arrays[name].dtype
        assert back.tobytes() == arrays[name].tobytes(), name
    assert "up to date" in run(capsys, "import", "mano-motion", exported / "mano.npz", root)[2]
    # It is motion like any other: it can be exported again, to the same numbers, and it is no session of keypoints.
    assert run(capsys, "export", "mano", root, "--out", tmp_path / "again.npz")[0] == 0
    with np.load(exported / "mano.npz") as first, np.load(tmp_path / "again.npz") as second:
        assert sorted(first.files) == sorted(second.files)
        assert all(first[name].tobytes() == second[name].tobytes() for name in first.files)
    assert run(capsys, "fit", root)[0] == 2


def test_generated_samples_come_back_bit_for_bit(tmp_path, capsys):
    samples = [clip(frames=6, seed=seed) for seed in (1, 2)]
    store = generated(tmp_path / "two.zarr", samples, fps=25.0)
    assert run(capsys, "export", "mano", store, "--out", tmp_path / "out")[0] == 0
    assert run(capsys, "import", "mano-motion", tmp_path / "out" / "two-0001.npz", tmp_path / "back")[0] == 0
    for name in COLUMNS:
        assert imported(tmp_path / "back", "mano", name).tobytes() == samples[1][name].tobytes(), name


@pytest.mark.parametrize("index", [0, 1])
def test_smplx_gives_the_same_joints(exported, index, tmp_path):
    """As docs/exporting.md shows it, with model files like those that `handpipe import mano` writes."""
    hand = HANDS[index]
    write_models({hand: procedural_hand(hand)}, tmp_path)
    with np.load(exported / "mano.npz") as file:
        motion = {name: torch.from_numpy(file[f"{hand}_{name}"]) for name in COLUMNS}
    seen = motion["valid"]
    count = int(seen.sum())
    model = smplx.MANO(
        str(tmp_path), ext="npz", is_rhand=hand == "right", use_pca=False, flat_hand_mean=True, batch_size=count
    )
    pose = {name: motion[name][seen] for name in ("global_orient", "hand_pose", "transl")}
    with torch.no_grad():
        out = model(betas=motion["betas"].expand(count, -1), **pose)
    ours = motion["joints"][seen].numpy()
    names = ["wrist", *(f"{f}_{p}" for f in ("index", "middle", "pinky", "ring") for p in ("mcp", "pip", "dip"))]
    names += ["thumb_cmc", "thumb_mcp", "thumb_ip"]
    inner = [JOINTS.index(name) for name in names]
    np.testing.assert_allclose(out.joints[:, :16].numpy(), ours[:, inner], atol=2e-6)
    tips = out.vertices[:, [744, 320, 443, 554, 671]].numpy()
    np.testing.assert_allclose(tips, ours[:, [4, 8, 12, 16, 20]], atol=2e-6)


def swapped_mano(a):
    return {
        **{k.replace("left", "x"): v for k, v in a.items() if "left" in k and "joints" not in k},
        **{k.replace("right", "left"): v for k, v in a.items() if "right" in k and "joints" not in k},
        **{k.replace("left", "right"): v for k, v in a.items() if "left" in k and "joints" not in k},
        "fps": a["fps"],
    }


def changed(name, change):
    return lambda a: {**a, name: change(a[name])}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: {k: v for k, v in a.items() if "hand_pose" not in k}, "left_hand_pose or right_hand_pose among"),
        (lambda a: {k: v for k, v in a.items() if k != "fps"}, "Say it with --fps"),
        (changed("fps", lambda v: -v), "expected frames per second"),
        (changed("hand_model", lambda v: np.array(["mano-1", "mano-2"])), "it is for mano-1, mano-2. Name the folder"),
        (changed("flat_hand_mean", lambda v: ~v), "flat_hand_mean=True"),
        (changed("right_hand_pose", lambda v: np.rad2deg(v)), "look like degrees"),
        (changed("right_hand_pose", lambda v: v[:, :12]), r"floats of shape \(24, 45\), but found .*\(24, 12\)"),
        (changed("right_transl", lambda v: v[:-1]), r"right_transl: expected floats of shape \(24, 3\)"),
        (changed("right_transl", lambda v: v * 1000), "It may be in millimetres: multiply it by 0.001"),
        (changed("right_transl", lambda v: v + 0.01), "mm off"),
        (changed("right_betas", lambda v: v[:5]), r"\(10,\), but found"),
        (changed("right_betas", lambda v: v + 1), "for another hand model or the other hand"),
        (changed("right_joints", lambda v: v[:, :20]), r"\(24, 21, 3\), but found float32 of shape \(24, 20, 3\)"),
        (changed("right_joints", lambda v: v[:, ::-1]), "order of the joints"),
        (changed("right_valid", lambda v: v.astype(int)), "24 booleans"),
        (changed("right_transl", lambda v: np.where(v > 0, np.inf, v)), "infinity"),
        (changed("right_transl", lambda v: v.astype(float) + 1e300), "infinity or numbers beyond 1e\\+12"),
        (changed("flat_hand_mean", lambda v: np.array("no")), "flat_hand_mean=True, but found no"),
        (
            lambda a: {k: 1000 * v if "transl" in k else v for k, v in a.items() if "joints" not in k},
            "It may be in millimetres",
        ),
        (swapped_mano, "they bend to the back"),
    ],
)  # fmt: skip
def test_what_is_not_motion_of_this_hand(exported, tmp_path, capsys, change, message):
    with np.load(exported / "mano.npz") as file:
        arrays = {name: file[name] for name in file.files}
    np.savez(tmp_path / "bad.npz", **change(arrays))
    with pytest.raises(SessionError, match=message):
        main(["import", "mano-motion", str(tmp_path / "bad.npz"), str(tmp_path / "out"), "--debug"])
    assert "bad.npz: " in refused(capsys, tmp_path, "mano-motion", tmp_path / "bad.npz")


def test_valid_over_nan_is_no_hand(tmp_path, capsys):
    """Other tools keep `valid` true over frames without numbers: 10 frames at each end of 90 here. What comes of them
    is missing in every format."""
    arrays = clip(frames=90)
    assert run(capsys, "export", "mano", fitted(tmp_path / "s", arrays), "--out", tmp_path / "it.npz")[0] == 0
    with np.load(tmp_path / "it.npz") as file:
        altered = {name: file[name].copy() for name in file.files}
    for name in ("global_orient", "hand_pose", "transl"):
        altered[f"left_{name}"][:10] = altered[f"left_{name}"][80:] = np.nan
    np.savez(tmp_path / "nan.npz", **altered)
    _, figures, said = run(capsys, "import", "mano-motion", tmp_path / "nan.npz", tmp_path / "nan", "--json")
    assert figures["frames_with_hand"] == {"left": 70 / 90, "right": 1.0}
    assert "left hand in 77.8 %" in said
    assert imported(tmp_path / "nan", "mano", "valid").sum(axis=0).tolist() == [70, 90]
    assert run(capsys, "export", "gltf", tmp_path / "nan", "--out", tmp_path / "nan.glb")[0] == 0
    assert "left hand in 77.8 %" in run(capsys, "import", "keypoints", tmp_path / "nan.glb", tmp_path / "glb")[2]


def test_an_archive_that_expands_without_bound_is_not_unpacked(tmp_path, capsys, monkeypatch):
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("left_hand_pose.npy", bytes(30 << 20))
    assert (tmp_path / "bomb.npz").stat().st_size < 100_000
    monkeypatch.setattr(files, "MAX_NPZ_BYTES", 20 << 20)
    for what in ("mano-motion", "keypoints"):
        assert "unpacks to" in refused(capsys, tmp_path, what, tmp_path / "bomb.npz")


def test_more_frames_than_can_be_judged_are_refused(exported, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("handpipe.exchange.motion.mano.npz.MAX_FRAMES", 23)
    assert "at most 23 frames, but found 24" in refused(capsys, tmp_path, "mano-motion", exported / "mano.npz")


def test_a_header_that_claims_more_than_memory_is_refused(tmp_path, capsys):
    head = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little")
    text = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000000,), }"
    with zipfile.ZipFile(tmp_path / "big.npz", "w") as archive:
        archive.writestr("left_hand_pose.npy", head + text.ljust(117) + b"\n")
    assert "cannot be read" in refused(capsys, tmp_path, "mano-motion", tmp_path / "big.npz")


# ---- joints: glTF, BVH, TRC, CSV, npz --------------------------------------------------------------------------


def test_keypoints_come_back_bit_for_bit(exported, session, tmp_path, capsys):
    assert run(capsys, "import", "keypoints", exported / "keypoints3d.npz", tmp_path / "back")[0] == 0
    for name in ("points", "sigma"):
        back, first = (imported(root, "keypoints", name) for root in (tmp_path / "back", session))
        assert back.tobytes() == first.tobytes()


def test_generated_motion_has_keypoints_without_sigma(tmp_path, capsys):
    sample = clip(frames=6)
    store = generated(tmp_path / "one.zarr", [sample])
    assert run(capsys, "export", "keypoints3d", store, "--out", tmp_path / "it.npz")[0] == 0
    assert run(capsys, "import", "keypoints", tmp_path / "it.npz", tmp_path / "back")[0] == 0
    np.testing.assert_array_equal(imported(tmp_path / "back", "keypoints", "points"), sample["joints"])


@pytest.mark.parametrize("kind", ["gltf", "bvh"])
def test_a_hand_that_is_left_out_is_mentioned(tmp_path, capsys, kind):
    arrays = without(clip(frames=3), 0, slice(None))
    command = ("export", kind, fitted(tmp_path / "s", arrays), "--out", tmp_path / f"it{FILES[kind]}", "--json")
    assert any("never was there is left out" in sentence for sentence in run(capsys, *command)[1]["lost"])


@pytest.mark.parametrize("kind", ["gltf", "bvh", "trc"])
def test_no_hand_at_all(tmp_path, capsys, kind):
    arrays = without(without(clip(frames=3), 0, slice(None)), 1, slice(None))
    status, _, err = run(capsys, "export", kind, fitted(tmp_path / "s", arrays), "--out", tmp_path / "out")
    assert status == 2
    assert "expected a hand in at least one frame" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s"]


# ---- BVH -------------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 2**32 - 1), right_angle=st.booleans())
def test_angles_give_the_rotation_back(seed, right_angle):
    """Also where the middle angle is a right angle, or nearly, and two of the three are one."""
    rng = np.random.default_rng(seed)
    angles = rng.uniform(-180, 180, (5, 2, 3))
    if right_angle:
        angles[:, 0, 1] = rng.choice([-90, 90], 5) + rng.choice([0, 1e-8, 1e-4], 5)
    R = Rotation.from_euler("ZXY", angles.reshape(-1, 3), degrees=True).as_matrix().reshape(5, 2, 3, 3)
    back = Rotation.from_euler("ZXY", euler_deg(R).reshape(-1, 3), degrees=True).as_matrix().reshape(5, 2, 3, 3)
    np.testing.assert_allclose(back, R, atol=1e-12)


def test_angles_do_not_jump():
    """Twice around z with the middle angle swinging over the pole: no angle moves by more than the motion does."""
    t = np.linspace(0, 1, 400)
    smooth = np.stack([720 * t, 120 * np.sin(2 * np.pi * t), 30 * t], axis=-1)
    R = Rotation.from_euler("ZXY", smooth, degrees=True).as_matrix()
    np.testing.assert_allclose(euler_deg(R), smooth, atol=1e-6)


def test_the_bvh_file_is_what_the_documentation_says(exported):
    bvh = parse_bvh((exported / "bvh.bvh").read_text())
    assert bvh.names[0] == "handpipe_world"
    assert (bvh.values[:, :6] == 0).all()
    channels = dict(zip(bvh.names, bvh.channels, strict=True))
    position = ("xposition", "yposition", "zposition")
    rotation = ("zrotation", "xrotation", "yrotation")
    assert channels["left_wrist"] == channels["right_wrist"] == position + rotation
    assert channels["left_index_pip"] == rotation
    assert len(bvh.names) == 1 + 2 * 21
    assert bvh.frame_time_s == pytest.approx(1 / 30, abs=1e-9)


# ---- TRC and CSV -----------------------------------------------------------------------------------------------


def test_the_trc_file_field_by_field(exported, arrays):
    """By OpenSim's rules: tabs, the keys of line 2 in order, X1 Y1 Z1, and three fields for every marker."""
    lines = (exported / "trc.trc").read_text().split("\n")
    assert lines[0] == "PathFileType\t4\t(X/Y/Z)\ttrc.trc"
    keys, values = lines[1].split("\t"), lines[2].split("\t")
    assert dict(zip(keys, values, strict=True)) == {
        "DataRate": "30",
        "CameraRate": "30",
        "NumFrames": "24",
        "NumMarkers": "42",
        "Units": "mm",
        "OrigDataRate": "30",
        "OrigDataStartFrame": "1",
        "OrigNumFrames": "24",
    }
    assert keys[:5] == ["DataRate", "CameraRate", "NumFrames", "NumMarkers", "Units"]
    labels = [label for label in lines[3].split("\t") if label]
    assert labels == ["Frame#", "Time", *(f"{hand}_{joint}" for hand in HANDS for joint in JOINTS)]
    assert lines[3].split("\t")[2::3] == labels[2:]
    assert lines[4].split("\t")[2:5] == ["X1", "Y1", "Z1"]
    assert lines[4].split("\t")[-1] == "Z42"
    assert lines[5] == ""
    rows = [line.split("\t") for line in lines[6:-1]]
    assert {len(row) for row in rows} == {2 + 3 * 42}
    assert [row[0] for row in rows] == [str(n) for n in range(1, 25)]
    assert [float(row[1]) for row in rows] == pytest.approx(np.arange(24) / 30, abs=1e-6)
    assert float(rows[3][2]) == pytest.approx(1000 * arrays["joints"][3, 0, 0, 0], abs=1e-4)
    assert rows[6][2 : 2 + 63] == [""] * 63, "the left hand is missing here"


def test_the_csv_file_says_its_units(exported, arrays):
    rows = [line.split(",") for line in (exported / "csv.csv").read_text().splitlines()]
    assert rows[0][:5] == ["frame", "time_s", "left_wrist_x_m", "left_wrist_y_m", "left_wrist_z_m"]
    assert {len(row) for row in rows} == {2 + 2 * 63}
    assert rows[4][0] == "3"
    assert float(rows[4][2]) == pytest.approx(arrays["joints"][3, 0, 0, 0], abs=1e-8)
    assert rows[7][2] == ""


def test_columns_in_any_order_and_unit():
    text = "note,right_wrist_z_mm,time_s,right_wrist_x_cm\nhello,30,0.0,1\nthere,,0.5,2\n"
    points, times, numbers = parse_csv(text)
    assert points[0, 1, 0] == pytest.approx([0.01, np.nan, 0.03], nan_ok=True)
    assert points[1, 1, 0] == pytest.approx([0.02, np.nan, np.nan], nan_ok=True)
    assert np.isfinite(points).sum() == 3
    assert times is not None
    assert times.tolist() == [0.0, 0.5]
    assert numbers is None
    in_metres, *_ = parse_csv(text, unit_m=1.0)
    assert in_metres[0, 1, 0, 0] == 1


TRC = "PathFileType\t4\t(X/Y/Z)\tx\n" + (
    "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames\n"
    "60\t60\t2\t2\tcm\t60\t1\t2\nFrame#\tTime\twrist\t\t\tRightHandIndex1\t\t\t\n\t\tX1\tY1\tZ1\tX2\tY2\tZ2\t\n\n"
    "1\t0.0\t1\t2\t3\t4\t5\t6\t\n2\t0.016\t\t\t\t7\t8\t9\n"
)
"""As other programs write it: tabs at the ends of lines."""


def test_a_trc_file_of_another_program():
    trc = parse_trc(TRC)
    assert (trc.names, trc.units, trc.fps) == (("wrist", "RightHandIndex1"), "cm", 60.0)
    np.testing.assert_array_equal(trc.points[0], [[1, 2, 3], [4, 5, 6]])
    np.testing.assert_array_equal(trc.points[1], [[np.nan] * 3, [7, 8, 9]])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("PathFileType", "Motion", "expected a TRC file"),
        ("\t2\t2\tcm", "\t3\t2\tcm", "expected 3 frames, but found 2"),
        ("\t2\t2\tcm", "\t2\t3\tcm", "names of 3 markers, but found 2"),
        ("cm", "inch", "Units m, cm or mm"),
        ("60\t60\t2", "0\t60\t2", "DataRate above zero"),
        ("60\t60\t2", "x\t60\t2", "cannot be read"),
        ("4\t5\t6", "4\tfive\t6", "line 7: expected numbers"),
        ("7\t8\t9", "7\t8", "expected 6 numbers"),
        ("7\t8\t9", "7\t8\t9\t10", "expected 6 numbers"),
        ("4\t5\t6", "4\tinf\t6", "infinity"),
    ],
)
def test_what_is_not_trc(old, new, message):
    assert old in TRC
    with pytest.raises(SessionError, match=message):
        parse_trc(TRC.replace(old, new, 1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "found nothing"),
        ("a,b\n1,2\n", "found columns a, b"),
        ("left_wrist_x\n1\n", "columns of joints with their unit"),
        ("left_wrist_x_m\n", "found no rows"),
        ("left_wrist_x_m,b\n1,2\n3\n", "row 3: expected 2 fields"),
        ("left_wrist_x_m\nfar\n", "left_wrist_x_m: expected a number"),
        ("left_wrist_x_m\ninf\n", "infinity"),
        ('left_wrist_x_m\n"1\n', "expected comma-separated values"),
    ],
)
def test_what_is_not_such_a_table(text, message):
    with pytest.raises(SessionError, match=message):
        parse_csv(text)


# ---- what anatomy says against it ------------------------------------------------------------------------------


def other_names(text: str) -> str:
    return text.replace("left_", "LEFT_").replace("right_", "left_").replace("LEFT_", "right_")


def with_times(text: str, time: Callable[[int], float]) -> str:
    head, *rows = text.splitlines()
    fields = [row.split(",") for row in rows]
    return "\n".join([head, *(",".join([f[0], f"{time(i):g}", *f[2:]]) for i, f in enumerate(fields))]) + "\n"


def in_milliseconds(text: str) -> str:
    return with_times(text, lambda frame: 100 / 3 * frame)


def cubic_times(text: str) -> str:
    return with_times(text, lambda frame: 1e-3 * frame**3)


def doubled(text: str) -> str:
    """Another marker under a name that means the same."""
    return text.replace("left_index_tip", "LeftHandIndex1")


def as_others_have_them(text: str) -> str:
    """The names in another order over the same columns."""
    for a, b in (("pinky", "index"), ("mcp", "tip")):
        text = text.replace(a, "###").replace(b, a).replace("###", b)
    return text


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("trc", lambda text: text.replace("\tmm\t", "\tm\t"), "looks like millimetres: use --unit-m 0.001"),
        ("trc", other_names, "left and right are swapped (use --swap-hands)"),
        ("trc", as_others_have_them, "expected the left hand's"),
        ("trc", lambda text: text.replace("left_", "A").replace("right_", "B"), "found Awrist, Athumb_cmc"),
        ("csv", lambda text: text.replace("_m,", "_cm,").replace("_z_m\n", "_z_cm\n"), "expected metres, a palm of"),
        ("csv", other_names, "left and right are swapped (use --swap-hands)"),
        ("csv", as_others_have_them, "expected the left hand's"),
        ("trc", doubled, "left_index_mcp and LeftHandIndex1 are both the left index_mcp"),
        ("csv", lambda text: text.replace("left_index_tip_x", "left_index_mcp_x"), "expected every column once"),
        ("csv", in_milliseconds, "expected 0.5 to 2000 frames per second"),
        ("csv", cubic_times, "expected times evenly apart"),
        ("csv", lambda text: text.replace("time_s", "t"), "Say the frames per second with --fps"),
    ],
)  # fmt: skip
def test_tables_of_the_wrong_unit_hand_or_order(exported, tmp_path, capsys, kind, change, message):
    text = (exported / f"{kind}{FILES[kind]}").read_text()
    bad = tmp_path / f"bad{FILES[kind]}"
    bad.write_text(change(text))
    assert message in refused(capsys, tmp_path, "keypoints", bad)


def test_the_remedies_that_messages_name_work(exported, tmp_path, capsys):
    text = (exported / "trc.trc").read_text()
    bad = tmp_path / "bad.trc"
    bad.write_text(other_names(text.replace("\tmm\t", "\tm\t")))
    command = ("import", "keypoints", bad, tmp_path / "out", "--unit-m", "0.001", "--swap-hands")
    assert run(capsys, *command)[0] == 0
    back = imported(tmp_path / "out", "keypoints", "points")
    assert np.nanmax(np.abs(back - clip()["joints"])) < 1e-6


@pytest.mark.parametrize("suffix", [".trc", ".csv", ".glb", ".npz"])
def test_files_that_cannot_be_read(tmp_path, capsys, suffix):
    absent = refused(capsys, tmp_path, "keypoints", tmp_path / f"absent{suffix}")
    assert f"absent{suffix}: expected a" in absent
    other = tmp_path / f"other{suffix}"
    other.write_bytes(b"\xff\xfe\x00\x01" * 10)
    assert f"other{suffix}: expected a" in refused(capsys, tmp_path, "keypoints", other)


# ---- times ---------------------------------------------------------------------------------------------------


def without_rows(kind: str, text: str, rows: slice) -> str:
    """The table without some frames, as a filter for complete rows leaves it."""
    lines = text.splitlines()
    head = {"csv": 1, "trc": 6}[kind]
    body = lines[head:]
    del body[rows]
    if kind == "trc":
        fields = lines[2].split("\t")
        fields[2] = fields[7] = str(len(body))
        lines[2] = "\t".join(fields)
    return "\n".join([*lines[:head], *body]) + "\n"


@pytest.mark.parametrize("kind", ["csv", "trc"])
@pytest.mark.parametrize(("fps", "expected"), [([], 30), (["--fps", "25"], 25)])
def test_rows_that_are_left_out_are_missing_frames(exported, arrays, tmp_path, capsys, kind, fps, expected):
    file = tmp_path / f"gap.{kind}"
    file.write_text(without_rows(kind, (exported / f"{kind}{FILES[kind]}").read_text(), slice(11, 18)))
    status, _, said = run(capsys, "import", "keypoints", file, tmp_path / "back", *fps)
    assert status == 0, said
    assert "7 of 24 frames have no row in the file" in said
    store = Store(str(tmp_path / "back" / "session.zarr"))
    assert store.attrs("keypoints")["fps"] == expected
    there = np.isfinite(store.read("keypoints", "points")).all(axis=(2, 3))
    assert (there == (arrays["valid"] & ~np.isin(np.arange(24), np.arange(11, 18))[:, None])).all()


def test_a_rate_that_contradicts_the_times(exported, tmp_path, capsys):
    file = tmp_path / "twice.trc"
    file.write_text((exported / "trc.trc").read_text().replace("\n30\t30\t", "\n60\t60\t"))
    assert "the header says 60 frames per second" in refused(capsys, tmp_path, "keypoints", file)
    for fps in ("30", "60"):
        assert run(capsys, "import", "keypoints", file, tmp_path / fps, "--fps", fps)[0] == 0
        assert Store(str(tmp_path / fps / "session.zarr")).attrs("keypoints")["fps"] == float(fps)
