"""Clips: every kind of broken file is named; frames come out in order, once."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from clips import SIZE, write

from handpipe.capture.frames import view_frames
from handpipe.capture.video import clip_writer, find_clips, natural_key, probe, read_frames
from handpipe.core.errors import VideoError
from handpipe.core.recording import Timeline


def brightness(images):
    return [round(float(image.mean()) / 20) for image in images]


def test_a_clip_says_what_it_is(tmp_path):
    clip = probe(write(tmp_path / "c1.mp4"))
    assert (clip.view, clip.frames, clip.fps, clip.size_px) == ("c1", 10, 30.0, SIZE)


def test_frames_come_in_order_and_only_the_wanted(tmp_path):
    clip = probe(write(tmp_path / "c1.mp4"))
    assert brightness(read_frames(clip, range(10))) == list(range(10))
    assert brightness(read_frames(clip, [0, 3, 9])) == [0, 3, 9]


def test_duplicated_and_dropped_frames(tmp_path):
    """Instant 2 repeats instant 1's frame, instant 3 has none: the clip is still decoded once."""
    clip = probe(write(tmp_path / "c1.mp4"))
    source = np.array([[0, 1, 1, -1, 4, 5]])
    (view,) = view_frames([clip], Timeline(source, source / 30.0), 3)
    looked = []

    def see(image):
        looked.append(brightness([image])[0])
        return looked[-1]

    found = dict(view.look(view.units, see))
    assert found == {(0, 0): [0, 1, 1], (0, 1): [None, 4, 5]}
    assert looked == [0, 1, 4, 5]
    assert dict(view.look([(0, 1)], see)) == {(0, 1): [None, 4, 5]}


def test_a_missing_file(tmp_path):
    with pytest.raises(VideoError, match=r"c1\.mp4: expected a clip, but there is no such file"):
        probe(tmp_path / "c1.mp4")


def test_a_folder_with_the_name_of_a_clip(tmp_path):
    (tmp_path / "c1.mp4").mkdir()
    with pytest.raises(VideoError, match=r"c1\.mp4: expected a clip, but found a folder or special file"):
        probe(tmp_path / "c1.mp4")


def test_a_name_that_cannot_be_read(tmp_path):
    write(tmp_path / "c1.mp4", frames=1).rename(os.fsdecode(os.fsencode(tmp_path) + b"/c\xff1.mp4"))
    with pytest.raises(VideoError, match="expected clips with readable names"):
        find_clips(tmp_path)


def test_a_colon_in_a_relative_path(tmp_path, monkeypatch):
    (tmp_path / "10:00").mkdir()
    monkeypatch.chdir(tmp_path)
    assert probe(write(Path("10:00/c1.mp4"), frames=2)).frames == 2


def test_an_empty_file(tmp_path):
    (tmp_path / "c1.mp4").touch()
    with pytest.raises(VideoError, match=r"c1\.mp4: expected a clip, but the file is empty"):
        probe(tmp_path / "c1.mp4")


@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_a_truncated_file(tmp_path, keep):
    path = write(tmp_path / "c1.mp4")
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(VideoError, match=r"c1\.mp4: expected .*truncated"):
        probe(path)


def test_a_file_that_is_no_video(tmp_path):
    (tmp_path / "c1.mp4").write_text("frame,x,y\n1,2,3\n")
    with pytest.raises(VideoError, match=r"c1\.mp4: expected a video that can be decoded, but found a text file"):
        probe(tmp_path / "c1.mp4")


def test_a_clip_that_ends_early_says_where(tmp_path):
    clip = probe(write(tmp_path / "c1.mp4"))
    with pytest.raises(VideoError, match=r"frame 10 cannot be decoded.*to continue without this view"):
        list(read_frames(clip, [0, 12]))


def test_an_interrupted_writer_leaves_nothing(tmp_path):
    def interrupted():
        with clip_writer(tmp_path / "c1.mp4", 30.0, SIZE) as writer:
            writer.write(np.zeros((48, 64, 3), np.uint8))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_the_same_pictures_give_the_same_file(tmp_path):
    assert write(tmp_path / "a.mp4").read_bytes() == write(tmp_path / "b.mp4").read_bytes()


def test_c2_comes_before_c10(tmp_path):
    for name in ("c10", "c2", "c1"):
        write(tmp_path / f"{name}.mp4", frames=1)
    assert list(find_clips(tmp_path)) == ["c1", "c2", "c10"]
    assert sorted(["b1", "a10", "a9b", "a9", "7"], key=natural_key) == ["7", "a9", "a9b", "a10", "b1"]


def test_two_clips_of_one_view(tmp_path):
    write(tmp_path / "c1.mp4", frames=1)
    (tmp_path / "c1.avi").write_bytes((tmp_path / "c1.mp4").read_bytes())
    with pytest.raises(VideoError, match=r"found both c1\.\w+ and c1\.\w+"):
        find_clips(tmp_path)
