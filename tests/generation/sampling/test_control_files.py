"""Keyframes and trajectories as users write them: what is read, and what is refused."""

from __future__ import annotations

import gc
import io
import zipfile

import numpy as np
import pytest
import zarr
from stored_motions import PROCEDURAL_IDS, ramp, write_mano, write_samples

from handpipe.core.errors import GenerationError
from handpipe.generation.sampling.control_files import contradictions, read_keyframes, read_trajectory


def keys(frames=(0, 10, 59), **changes):
    count = len(frames)
    arrays = {
        "frame": np.array(frames, int),
        "betas": np.full((2, 10), 0.25),
        "global_orient": np.full((count, 2, 3), 0.1),
        "hand_pose": np.full((count, 2, 45), 0.2),
        "transl": np.arange(count * 6.0).reshape(count, 2, 3) / 100,
    }
    return {name: value for name, value in {**arrays, **changes}.items() if value is not None}


def write_npz(path, arrays):
    np.savez(path, **arrays)
    return str(path)


# ---- keyframes of a session ----------------------------------------------------------------------------------------


def test_frames_of_a_session_are_placed_by_their_time_after_the_first(tmp_path):
    """At 60 fps, frames 4, 6, 24 are 0, 1/30, 1/3 s after the first: 0, 1, 10 at 30 fps."""
    motion = ramp(40)
    path = write_mano(tmp_path / "take" / "session.zarr", {**motion, "transl": motion["transl"] / 100}, fps=60.0)
    for named in (f"{tmp_path / 'take'}:4,6,24", f"{path}:4, 6,24-24"):
        keyframes = read_keyframes(named, length=60, fps=30.0, hand_model=PROCEDURAL_IDS)
        assert keyframes.frame.tolist() == [0, 1, 10]
        assert keyframes.transl[:, 0, 0].round(6).tolist() == [0.04, 0.06, 0.24]
        assert keyframes.has_hand.all()
        assert keyframes.betas.tolist() == [[0.5] * 10] * 2
        assert keyframes.hand_model == tuple(PROCEDURAL_IDS)


def test_ranges_of_frames(tmp_path):
    path = write_mano(tmp_path / "s.zarr", {**ramp(40), "transl": np.zeros((40, 2, 3))})
    assert read_keyframes(f"{path}:0-4,30", 60, 30.0).frame.tolist() == [0, 1, 2, 3, 4, 30]
    assert read_keyframes(f"{path}:7", 1, 30.0).frame.tolist() == [0]


def test_a_hand_that_is_not_valid_is_not_given(tmp_path):
    motion, valid = {**ramp(40), "transl": np.zeros((40, 2, 3))}, np.ones((40, 2), bool)
    valid[10, 0] = False
    motion["hand_pose"][20, 1] = np.nan
    valid[30] = False
    path = write_mano(tmp_path / "s.zarr", motion, valid=valid)
    keyframes = read_keyframes(f"{path}:0,10,20", 60, 30.0)
    assert keyframes.has_hand.tolist() == [[True, True], [False, True], [True, False]]
    assert np.isfinite(keyframes.hand_pose).all()
    with pytest.raises(GenerationError, match="in every keyframe, but in frame 30 of the recording both are missing"):
        read_keyframes(f"{path}:0,30", 60, 30.0)


def test_a_sample_of_generated_motion(tmp_path):
    path = write_samples(tmp_path / "out.zarr", {**ramp(20), "transl": np.zeros((20, 2, 3))}, samples=3)
    assert read_keyframes(f"{path}[2]:0,5", 60, 30.0).transl[0, 0].tolist() == [2, 2, 2]
    for sample in ("", "[3]"):
        with pytest.raises(GenerationError, match="expected one of the 3 motions in"):
            read_keyframes(f"{path}{sample}:0,5", 60, 30.0)


@pytest.mark.parametrize(
    ("frames", "says"),
    [
        ("", "expected frames after the colon, like 0,30,59 or 0-9,40, but got ''"),
        ("0,a", "but got 'a'"),
        ("0,-3", "but got '-3'"),
        ("0,40", "expected frames of the recording, which has 0 to 39, but got 40"),
        ("0-999999999999", "which has 0 to 39, but got 0-999999999999"),
        ("9-3", "but got 9-3"),
        ("0,5,5", "each frame once and in ascending order"),
        ("0-39,0-39,0-39", "each frame once and in ascending order"),
        ("10,3", "each frame once and in ascending order"),
        ("0,1", r"at least one frame apart in the clip, but 0 and 1 of the recording \(120 fps\) both become its "
                r"frame 0 \(30 fps\)"),
        ("0,39", r"expected frames of the clip, 0 to 7, but got 10: the clip has 8 frames"),
    ],
)  # fmt: skip
def test_frames_that_cannot_be_placed(tmp_path, frames, says):
    path = write_mano(tmp_path / "s.zarr", {**ramp(40), "transl": np.zeros((40, 2, 3))}, fps=120.0)
    with pytest.raises(GenerationError, match=says):
        read_keyframes(f"{path}:{frames}", 8, 30.0)


def test_keyframes_for_another_hand(tmp_path):
    path = write_mano(tmp_path / "s.zarr", ramp(40))
    with pytest.raises(GenerationError, match="expected keyframes for the hand models a, b, but they are for procedur"):
        read_keyframes(f"{path}:0", 8, 30.0, hand_model=["a", "b"])


def test_sessions_that_are_none(tmp_path):
    path = write_mano(tmp_path / "take" / "session.zarr", ramp(40))
    with pytest.raises(
        GenerationError, match=r"session's keyframes after a colon, found none. Add them, as in .*:0,30"
    ):
        read_keyframes(path, 60, 30.0)
    for named in (str(tmp_path), str(tmp_path / "nowhere"), "nosuchprotocol://x.zarr"):
        with pytest.raises(
            GenerationError, match=r"expected SESSION:FRAMES \(take1:0,30,59\), an .npz, or a Zarr group"
        ):
            read_keyframes(named, 60, 30.0)
    with pytest.raises(GenerationError, match="no such folder"):
        read_keyframes(f"{tmp_path / 'nowhere'}:0", 60, 30.0)


# ---- keyframes as arrays -------------------------------------------------------------------------------------------


def test_keyframes_from_an_npz_or_a_zarr_group(tmp_path):
    group = zarr.create_group(str(tmp_path / "keys.zarr"))
    for name, value in keys((59, 0, 10)).items():
        group.create_array(name, data=value)
    for named in (write_npz(tmp_path / "keys.npz", keys((59, 0, 10))), str(tmp_path / "keys.zarr")):
        keyframes = read_keyframes(named, 60, 30.0, hand_model=PROCEDURAL_IDS)
        assert keyframes.frame.tolist() == [0, 10, 59]
        np.testing.assert_array_equal(keyframes.transl, keys()["transl"][[1, 2, 0]])
        assert keyframes.has_hand.all()
        assert keyframes.hand_model is None


def test_a_hand_marked_as_missing_may_hold_anything(tmp_path):
    arrays = keys(has_hand=np.array([[True, False]] * 3))
    for name in ("global_orient", "hand_pose", "transl"):
        arrays[name][:, 1] = np.nan
    arrays["betas"][1] = np.nan
    keyframes = read_keyframes(write_npz(tmp_path / "k.npz", arrays), 60, 30.0)
    assert not keyframes.has_hand[:, 1].any()
    for value in (keyframes.transl, keyframes.betas, keyframes.hand_pose):
        assert np.isfinite(value).all()


def spoiled(name, index, value):
    arrays = keys()
    arrays[name][index] = value
    return arrays


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        (keys(betas=None), r"expected the arrays frame, betas, .*, and optionally has_hand, but found "),
        (keys(extra=np.zeros(1)), "expected the arrays frame, .* extra"),
        ({}, "but found none"),
        (keys(frame=np.array(3)), r"frame: expected whole numbers of shape \(0,\), but found int64 of shape \(\)"),
        (keys(frame=np.array([0.0, 1.0, 2.0])), "frame: expected whole numbers"),
        (keys(hand_pose=np.zeros((3, 2, 48))), r"hand_pose: expected numbers of shape \(3, 2, 45\), but found float64"),
        (keys(transl=np.zeros((3, 2, 3), "U2")), "transl: expected numbers"),
        (keys(transl=np.zeros((3, 2, 3), complex)), "transl: expected numbers"),
        (keys(has_hand=np.ones((3, 2))), "has_hand: expected booleans"),
        (keys(has_hand=np.array([[1, 1], [0, 0], [1, 1]], bool)), "every keyframe, but in frame 10 both are missing"),
        (keys(()), "at least one keyframe, but found none"),
        (keys((0, 10, 10)), "each frame once, but found 10 twice"),
        (keys((0, 10, 60)), "frames of the clip, 0 to 59, but got 60: the clip has 60 frames"),
        (keys((-5, 10, 99)), "0 to 59, but got -5 and 1 more"),
        (spoiled("transl", (1, 1, 0), np.inf), "finite numbers, but transl of the right hand at frame 10 is not"),
        (spoiled("betas", (0, 3), np.nan), "finite numbers, but betas of the left hand is not"),
        (keys(transl=keys()["transl"] * 1000), "transl: expected metres, .* looks like millimetres. Divide"),
        (spoiled("global_orient", (0, 0), 90), "global_orient: expected axis-angles in radians, .* looks like degrees"),
    ],
    ids=range(18),
)  # fmt: skip
def test_keyframe_arrays_that_are_refused(tmp_path, arrays, says):
    with pytest.raises(GenerationError, match=says):
        read_keyframes(write_npz(tmp_path / "k.npz", arrays), 60, 30.0)


def npy(header, data=b""):
    text = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


def archive(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in members.items():
            zipped.writestr(f"{name}.npy", content)
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04",
        archive(frame=b"no array"),
        archive(frame=npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", b"\x80\x04.")),
        archive(frame=npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }")),
        archive(frame=npy("{'descr': '<f8', 'fortran_order': False, 'shape': (3,), }", b"\0" * 8)),
        archive(frame=npy("__import__('os')")),
        archive(frame=npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }", b"\0" * 8))[:-30],
    ],
    ids=range(8),
)
def test_files_that_are_no_npz(tmp_path, content):
    path = tmp_path / "k.npz"
    path.write_bytes(content)
    with pytest.raises(GenerationError, match=r"expected an .npz with plain arrays, but it cannot be read"):
        read_keyframes(str(path), 60, 30.0)
    with pytest.raises(GenerationError, match=r"expected an .npz with plain arrays, but it cannot be read"):
        read_trajectory(path, 60)


def test_files_that_are_too_large_packed_or_unpacked(tmp_path):
    np.savez_compressed(tmp_path / "k.npz", frame=np.zeros(100_000))
    assert (tmp_path / "k.npz").stat().st_size < 10_000
    (tmp_path / "t.csv").write_text("frame,hand,x,y,z\n" + "0,left,0,0,0\n" * 1000)
    group = zarr.create_group(str(tmp_path / "k.zarr"))
    group.create_array("frame", shape=(10**12,), chunks=(1000,), dtype="i8")
    for name, says in (("k.npz", "but it unpacks to 0.8 MiB"), ("k.zarr", "at most 10000 bytes, but it is larger")):
        with pytest.raises(GenerationError, match=says):
            read_keyframes(str(tmp_path / name), 60, 30.0, max_bytes=10_000)
    with pytest.raises(GenerationError, match=r"expected a CSV file of wrist positions of at most 0\.0095"):
        read_trajectory(tmp_path / "t.csv", 60, max_bytes=10_000)


# ---- trajectories --------------------------------------------------------------------------------------------------


def csv_file(tmp_path, text):
    (tmp_path / "path.csv").write_bytes(text.encode() if isinstance(text, str) else text)
    return tmp_path / "path.csv"


def test_a_trajectory_in_a_csv(tmp_path):
    text = "\ufeffframe, hand, x, y, z\r\n30,right,0.1,0.2,0.3\r\n\r\n0,right,-1e-1,0,0\r\n30, left ,0.4,0.5,0.6\r\n"
    trajectory = read_trajectory(csv_file(tmp_path, text), 60)
    assert trajectory.frame.tolist() == [0, 30, 30]
    assert trajectory.hand.tolist() == [1, 0, 1]
    assert trajectory.wrist_m.tolist() == [[-0.1, 0, 0], [0.4, 0.5, 0.6], [0.1, 0.2, 0.3]]


def test_columns_may_stand_in_another_order(tmp_path):
    trajectory = read_trajectory(csv_file(tmp_path, "hand,frame,z,y,x\nleft,4,3,2,1\n"), 60)
    assert (trajectory.frame.tolist(), trajectory.wrist_m.tolist()) == ([4], [[1, 2, 3]])


@pytest.mark.parametrize("hand", [np.array([1, 0]), np.array(["right", "left"])])
def test_a_trajectory_in_an_npz(tmp_path, hand):
    np.savez(tmp_path / "t.npz", frame=np.array([5, 5]), hand=hand, wrist_m=np.array([[0.1, 0, 0], [0.2, 0, 0]]))
    trajectory = read_trajectory(tmp_path / "t.npz", 60)
    assert trajectory.hand.tolist() == [0, 1]
    assert trajectory.wrist_m[:, 0].tolist() == [0.2, 0.1]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected a CSV file with the header frame,hand,x,y,z, but found ''"),
        ("frame;hand;x;y;z\n0;left;0;0;0\n", "but found 'frame;hand;x;y;z'. Rename the columns"),
        ("frame,hand,x,y\n", "but found 'frame,hand,x,y'"),
        ("frame,frame,hand,x,y,z\n", "Rename the columns"),
        (b"\xff\xfe\x00", "but it cannot be read"),
        ("frame,hand,x,y,z\n", "at least one wrist position"),
        ("frame,hand,x,y,z\n0,left,0,0\n", "line 2: expected a whole frame number, .* found '0,left,0,0'"),
        ("frame,hand,x,y,z\n\n0.5,left,0,0,0\n", "line 3: .*found '0.5,left,0,0,0'"),
        ("frame,hand,x,y,z\n99999999999999999999,left,0,0,0\n", "line 2"),
        ("frame,hand,x,y,z\n0,left,0,zero,0\n", "line 2"),
        ("frame,hand,x,y,z\n3,Left,0,0,0\n", r"hand left or right, but point 1 \(frame 3\) has 'Left'"),
        ("frame,hand,x,y,z\n60,left,0,0,0\n", "frames of the clip, 0 to 59, but got 60: the clip has 60 frames"),
        ("frame,hand,x,y,z\n-1,left,0,0,0\n", "0 to 59, but got -1"),
        ("frame,hand,x,y,z\n7,right,0,nan,0\n", "finite positions, but that of the right hand at frame 7 is not"),
        ("frame,hand,x,y,z\n7,left,0,0,0\n7,right,0,0,0\n7,left,1,0,0\n", "left hand has two at frame 7"),
        (
            "frame,hand,x,y,z\n0,left,100,0,0\n9,left,400,0,0\n",
            "metres, but the wrists are up to 300 m .*millim",
        ),
    ],
    ids=range(16),
)
def test_trajectories_that_are_refused(tmp_path, text, says):
    with pytest.raises(GenerationError, match=says):
        read_trajectory(csv_file(tmp_path, text), 60)


def test_trajectory_arrays_that_are_refused(tmp_path):
    arrays = {"frame": np.array([5]), "hand": np.array([2]), "wrist_m": np.zeros((1, 3))}
    path = tmp_path / "t.npz"
    np.savez(path, **arrays)
    with pytest.raises(GenerationError, match=r"hand left or right, but point 1 .* has '2'"):
        read_trajectory(path, 60)
    np.savez(path, **{**arrays, "wrist_m": np.zeros((2, 3))})
    with pytest.raises(GenerationError, match=r"wrist_m: expected numbers of shape \(1, 3\), .* shape \(2, 3\)"):
        read_trajectory(path, 60)
    with pytest.raises(GenerationError, match="expected a CSV file of wrist positions, but there is no such file"):
        read_trajectory(tmp_path / "nowhere.csv", 60)


def test_a_group_that_somebody_has_edited(tmp_path, recwarn, capfd):
    path = tmp_path / "k.zarr"
    group = zarr.create_group(str(path))
    for name, values in keys().items():
        group.create_array(name, data=values)
    (path / "notes").mkdir()
    assert len(read_keyframes(str(path), 60, 30.0).frame) == 3
    (path / "betas" / "zarr.json").write_text("{")
    (path / "frame" / "zarr.json").write_text('"text"')
    with pytest.raises(GenerationError, match="a Zarr group of keyframes, but found something else"):
        read_keyframes(str(path), 60, 30.0)
    gc.collect()
    assert not recwarn.list
    assert capfd.readouterr().err == ""


def test_numbers_beyond_all_measure_are_refused_without_a_warning(tmp_path, recwarn):
    huge = keys()
    for name, says in (("transl", "expected metres"), ("hand_pose", "expected axis-angles in radians")):
        values = huge[name] * 0.0
        values[0, 0, 0] = 1e300
        with pytest.raises(GenerationError, match=says):
            read_keyframes(write_npz(tmp_path / "k.npz", {**huge, name: values}), 60, 30.0)
    assert not recwarn.list


# ---- both ----------------------------------------------------------------------------------------------------------


def test_contradictions_name_hand_frame_places_and_distance(tmp_path):
    """3-4-5: the right wrist 5 cm off at frame 10; frame 20 has no keyframe; frame 59's right hand is not given."""
    has_hand = np.array([[True, True], [True, True], [True, False]])
    keyframes = read_keyframes(write_npz(tmp_path / "k.npz", keys(has_hand=has_hand)), 60, 30.0)
    wrist_m = np.zeros((3, 2, 3))
    head = "frame,hand,x,y,z\n"
    fine = "0,left,0,0,0.0009\n20,right,1,1,1\n59,right,1,1,1\n"
    contradictions(keyframes, wrist_m, read_trajectory(csv_file(tmp_path, head + fine), 60))
    wrong = read_trajectory(csv_file(tmp_path, head + fine + "10,right,0.03,0,0.04\n59,left,1,0,0\n"), 60)
    with pytest.raises(
        GenerationError,
        match=r"path.csv: expected the right wrist at frame 10 where the keyframe of .*k.npz has it, "
        r"\(0.0000, 0.0000, 0.0000\) m, but found \(0.0300, 0.0000, 0.0400\) m, 0.05 m away \(and 1 more\)",
    ):
        contradictions(keyframes, wrist_m, wrong)
    contradictions(keyframes, wrist_m, wrong, tolerance_m=1.5)
