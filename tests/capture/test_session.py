"""Sessions on disk: what belongs together, what is left out, what is an error."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
from clips import write

from handpipe.capture.session import content_hashes, read_session
from handpipe.capture.settings import CaptureSettings
from handpipe.capture.timeline import read_timestamps
from handpipe.core.errors import SessionError, VideoError
from handpipe.core.storage.store import Store

OPTIONS = CaptureSettings()


@pytest.fixture(scope="module")
def _clip(tmp_path_factory):
    return write(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=4)


@pytest.fixture
def make(tmp_path, _clip):
    """A session of identical clips."""

    def make(views, folder="videos"):
        (tmp_path / "s" / folder).mkdir(parents=True, exist_ok=True)
        for view in views:
            shutil.copy(_clip, tmp_path / "s" / folder / f"{view}.mp4")
        return tmp_path / "s"

    return make


def test_views_in_natural_order_all_frames_simultaneous(make):
    session = read_session(make(["c10", "c2", "c1"]), OPTIONS)
    assert session.views == ("c1", "c2", "c10")
    assert session.timeline.source_frame.tolist() == [[0, 1, 2, 3]] * 3
    assert session.timeline.time_s[0].tolist() == pytest.approx([0, 1 / 30, 2 / 30, 3 / 30])
    assert list(session.board_clips.values()) == list(session.clips)
    assert session.first(2).timeline.frames == 2
    assert session.first(2).board_timeline.frames == 4


def test_no_such_folder(tmp_path):
    with pytest.raises(SessionError, match=r"expected a session folder .* but found no such folder"):
        read_session(tmp_path / "nowhere", OPTIONS)


def test_a_folder_that_is_no_session(tmp_path):
    with pytest.raises(SessionError, match="found no folder `videos` in it"):
        read_session(tmp_path, OPTIONS)
    (tmp_path / "videos").mkdir()
    with pytest.raises(SessionError, match="expected one clip per camera, but found none"):
        read_session(tmp_path, OPTIONS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: write(path, frames=7), r"c2\.mp4: expected 4 frames like the other clips, but found 7 frames"),
        (lambda path: write(path, 4, size=(96, 48)), r"c2\.mp4: expected 64x48 pixels .* found 96x48 pixels"),
        (lambda path: write(path, 4, fps=25.0), r"c2\.mp4: expected 30 frames per second .* found 25 frames"),
        (lambda path: path.write_bytes(b""), r"c2\.mp4: expected a clip, but the file is empty"),
    ],
    ids=["length", "size", "rate", "empty"],
)
def test_one_of_four_clips_unlike_the_others_is_an_error(make, change, message):
    root = make(["c1", "c2", "c3", "c4"])
    change(root / "videos" / "c2.mp4")
    with pytest.raises(VideoError, match=message):
        read_session(root, OPTIONS)


def test_one_dead_camera_among_many_is_left_out(make):
    root = make([f"c{i}" for i in range(12)])
    (root / "videos" / "c7.mp4").write_bytes(b"")
    session = read_session(root, OPTIONS)
    assert "c7" not in session.views
    assert len(session.views) == 11
    assert "the file is empty" in session.left_out["c7"]


def test_a_camera_that_filmed_only_the_board_is_missing(make):
    root = make(["c1", "c2", "c3", "c4"])
    make(["c1", "c2", "c3", "c4"], "calibration")
    (root / "videos" / "c3.mp4").unlink()
    with pytest.raises(VideoError, match=r"videos/c3\.mp4: expected a clip, but there is no such file"):
        read_session(root, OPTIONS)


def test_many_bad_clips_are_counted(make):
    root = make(["c1", "c2", "c3", "c4"])
    for view in ("c1", "c2"):
        (root / "videos" / f"{view}.mp4").write_bytes(b"")
    with pytest.raises(VideoError, match="2 of 4 views cannot be used"):
        read_session(root, OPTIONS)


def test_mixed_sizes_may_be_allowed(make):
    root = make(["c1", "c2", "c3"])
    write(root / "videos" / "c2.mp4", 4, size=(96, 48))
    session = read_session(root, CaptureSettings(mixed_sizes=True))
    assert [clip.size_px for clip in session.clips] == [(64, 48), (96, 48), (64, 48)]


def test_a_board_clip_of_another_size(make):
    root = make(["c1", "c2"])
    make(["c1", "c2"], "calibration")
    write(root / "calibration" / "c2.mp4", 4, size=(96, 48))
    with pytest.raises(VideoError, match=r"calibration/c2\.mp4: expected 64x48 .*videos/c2\.mp4.* found 96x48"):
        read_session(root, OPTIONS)


def csv(path, rows, header="sync_index,cam_id,frame_index,frame_time"):
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


def test_timestamps_decide_what_is_simultaneous(tmp_path):
    """Camera 1 dropped its frame for instant 1 and started its clip when the recorder was at frame 26."""
    rows = [(0, 0, 26, 5.0), (1, 0, 27, 5.1), (2, 0, 28, 5.2), (0, 1, 26, 5.01), (2, 1, 27, 5.21)]
    timeline = read_timestamps(csv(tmp_path / "t.csv", rows), {"cam_0": 3, "cam_1": 2})
    assert timeline.source_frame.tolist() == [[0, 1, 2], [0, -1, 1]]
    assert timeline.time_s[0].tolist() == pytest.approx([0, 0.1, 0.2])
    assert np.isnan(timeline.time_s[1, 1])


def test_an_empty_frame_index_is_a_missing_frame_as_no_row_is(tmp_path, recwarn):
    rows = [(0, 0, 0, 5.0), (1, 0, "", 5.1), (2, 0, 1, 5.2), (0, 1, "", 5.0), (1, 1, "", 5.1), (2, 1, 0, 5.2)]
    timeline = read_timestamps(
        csv(tmp_path / "t.csv", [*rows, (3, 0, "", 5.3), (3, 1, "", 5.3)]), {"cam_0": 2, "cam_1": 1}
    )
    assert timeline.source_frame.tolist() == [[0, -1, 1, -1], [-1, -1, 0, -1]]
    assert timeline.time_s[0, [0, 2]].tolist() == pytest.approx([0, 0.2])
    assert np.isnan(timeline.time_s[timeline.source_frame < 0]).all()
    nothing = [(0, 0, 0, 5.0), (1, 0, 1, 5.1), (0, 1, "", 5.0), (1, 1, "", 5.1)]
    found = read_timestamps(csv(tmp_path / "n.csv", nothing), {"cam_0": 2, "cam_1": 2})
    assert found.source_frame.tolist() == [[0, 1], [-1, -1]]
    assert not recwarn.list
    later = [(0, 0, "", 5.0), (1, 0, 26, 5.1)]
    assert read_timestamps(csv(tmp_path / "l.csv", later), {"cam_0": 1}).source_frame.tolist() == [[-1, 0]]


def test_timestamps_may_name_the_views(tmp_path):
    timeline = read_timestamps(
        csv(tmp_path / "t.csv", [(0, "top", 0, 0.0), (0, "side", 0, 0.0)]), {"top": 1, "side": 1}
    )
    assert timeline.source_frame.tolist() == [[0], [0]]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(0, 5, 0, 0.0)], "expected cam_id to name a clip .* found '5'"),
        ([(0, "\u00b2", 0, 0.0)], "expected cam_id to name a clip .* found '\u00b2'"),
        ([(0, "7" * 5000, 0, 0.0)], "expected cam_id to name a clip .* found '7777"),
        ([(0, 0, 0, 0.0)], "expected rows for every clip, but found none for cam_1"),
        ([(0, 0, "x", 0.0)], "line 2: expected sync_index and frame_index as whole numbers"),
        (
            [(0, 0, 0, 0.0), (0, 1, 9, 0.0)],
            "to stay below the 3 frames of clip cam_1, but found 9",
        ),
        ([(0, 0, 1, 0.0), (1, 0, 0, 0.1), (0, 1, 0, 0.0)], "frame_index and frame_time of cam_0 to increase"),
        ([(0, 0, -5, 0.0), (0, 1, 0, 0.0)], "line 2: expected sync_index and frame_index as whole numbers from 0 on"),
        ([(0, 0, 0, "nan"), (0, 1, 0, 0.0)], "a time in seconds, but found"),
        ([(0, 0, 0, 0.0), (0, 0, 1, 0.0), (0, 1, 0, 0.0)], "one frame for camera 0 at sync_index 0, but found 0 and 1"),
        ([(0, 0, 0, 5.0), (1, 0, 1, 4.0), (0, 1, 0, 5.0)], "frame_time of cam_0 to increase"),
        ([(0, 0, 0, 0.0), (900, 1, 1, 9.0)], "expected sync_index to count instants, but 2 rows spread it over 901"),
        ([], "expected at least one row"),
    ],
)
def test_timestamps_that_do_not_fit(tmp_path, rows, message):
    with pytest.raises(SessionError, match=message):
        read_timestamps(csv(tmp_path / "t.csv", rows), {"cam_0": 3, "cam_1": 3})


@pytest.mark.parametrize(
    "row",
    [
        "1" + "0" * 5000 + ",0,0,0",
        "0,0," + "9" * 16 + ",0",
        "0,\0,0,0",
        "0," + "c" * 100_000 + ",0,0",
        "0,0,0," + "9" * 5000,
        "0,0,0",
        "\u0660,0,0,0\u20ac",
        "0," + "c" * 200_000 + ",0,0",
    ],
    ids=["digits", "64 bits", "NUL", "long name", "infinite", "short", "no digits", "field limit"],
)
def test_a_hostile_row_is_one_sentence(tmp_path, row):
    with pytest.raises(SessionError) as caught:
        read_timestamps(csv(tmp_path / "t.csv", [(0, 0, 0, 0.0), (row,)]), {"cam_0": 3})
    assert len(str(caught.value)) < len(str(tmp_path)) + 500


@pytest.mark.parametrize("make_it", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_timestamps_that_are_no_file_are_not_waited_for(make, make_it):
    root = make(["c1"])
    make_it(root / "timestamps.csv")
    with pytest.raises(SessionError, match=r"timestamps\.csv: expected a table .*, but found (a folder|no plain file)"):
        read_session(root, OPTIONS)


def test_timestamps_that_lead_nowhere_are_not_absent(make):
    root = make(["c1"])
    (root / "timestamps.csv").symlink_to(root / "gone.csv")
    with pytest.raises(SessionError, match=r"timestamps\.csv: expected a table .*, but there is no such file"):
        read_session(root, OPTIONS)


@pytest.mark.parametrize("make_it", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_cameras_that_are_a_pipe_or_a_device_are_not_waited_for(make, make_it):
    root = make(["c1"])
    make_it(root / "cameras.toml")
    with pytest.raises(SessionError, match=r"cameras\.toml: expected a camera file, but found no plain file"):
        read_session(root, OPTIONS)


@pytest.mark.parametrize("make_it", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_a_clip_that_is_a_pipe_or_a_device_is_not_waited_for(make, make_it):
    root = make(["c1"])
    make_it(root / "videos" / "c2.mp4")
    with pytest.raises(VideoError, match=r"c2\.mp4: expected a clip, but found a folder or special file"):
        read_session(root, OPTIONS)


def test_a_gap_in_sync_index_is_an_instant_without_pictures(tmp_path):
    rows = [(sync, cam, sync, sync / 10) for sync in (0, 2) for cam in range(2)]
    timeline = read_timestamps(csv(tmp_path / "t.csv", rows), {"cam_0": 3, "cam_1": 3})
    assert timeline.source_frame.tolist() == [[0, -1, 2], [0, -1, 2]]


def test_rows_of_a_camera_that_is_left_out_do_not_matter(tmp_path):
    path = csv(tmp_path / "t.csv", [(0, 0, 0, 0.0), (0, 1, 0, 0.0), (0, 2, 99, 0.0)])
    assert read_timestamps(path, {"cam_0": 1, "cam_1": 1}, ["cam_2"]).source_frame.tolist() == [[0], [0]]
    with pytest.raises(SessionError, match="found '2'"):
        read_timestamps(path, {"cam_0": 1, "cam_1": 1})


def test_the_rate_is_the_timestamps(make):
    root = make(["cam_0", "cam_1"])
    csv(root / "timestamps.csv", [(i, c, i, i / 12) for c in range(2) for i in range(4)])
    assert read_session(root, OPTIONS).fps == pytest.approx(12)
    assert read_session(root, OPTIONS, fps=25.0).fps == 25


def test_a_file_that_is_no_text(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(SessionError, match="expected a text file with one row per frame"):
        read_timestamps(tmp_path / "t.csv", {"cam_0": 1})


def test_timestamps_without_the_columns(tmp_path):
    with pytest.raises(SessionError, match="expected the columns sync_index, cam_id, frame_index, frame_time"):
        read_timestamps(csv(tmp_path / "t.csv", [(1, 2)], header="a,b"), {"cam_0": 3})


def test_with_timestamps_clips_may_differ_in_length(make):
    root = make(["cam_0", "cam_1"])
    write(root / "videos" / "cam_1.mp4", frames=3)
    csv(root / "timestamps.csv", [(i, c, i, i / 30) for c in range(2) for i in range(4 - c)])
    assert read_session(root, OPTIONS).timeline.source_frame.tolist() == [[0, 1, 2, 3], [0, 1, 2, -1]]


def test_a_file_is_hashed_once_until_it_changes(make, tmp_path, monkeypatch):
    root = make(["c1"])
    store = Store(str(tmp_path / "s.zarr"))
    store.open()
    paths = {"videos/c1.mp4": root / "videos" / "c1.mp4"}
    first = content_hashes(store, paths)
    monkeypatch.setattr("hashlib.file_digest", None)
    assert content_hashes(store, paths) == first
    monkeypatch.undo()
    write(paths["videos/c1.mp4"], frames=5)
    assert content_hashes(store, paths) != first
