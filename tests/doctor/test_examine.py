"""`handpipe doctor`: sound sessions pass, faults are named, and nothing is written."""

from __future__ import annotations

import json
import os
import shutil

import av
import numpy as np
import pytest
from clips import write

from handpipe.capture.session import read_session
from handpipe.capture.settings import CaptureSettings
from handpipe.capture.video import clip_writer, probe, read_frames
from handpipe.cli import main
from handpipe.doctor.machine import room_checks


def doctor(root, capsys, *flags):
    """Exit status, and the findings that are not good by name."""
    status = main(["doctor", str(root), "--json", *map(str, flags)])
    captured = capsys.readouterr()
    figures = json.loads(captured.out)
    checks = figures["quality"]["checks"]
    return status, {check["name"]: check for check in reversed(checks) if check["severity"] != "ok"}, checks


def rewrite(path, change):
    """Encode a clip again with another image for each."""
    clip = probe(path)
    images = list(read_frames(clip, range(clip.frames)))
    with clip_writer(path, clip.fps, clip.size_px) as writer:
        for image in change(images):
            writer.write(image)


def cut_short(path):
    """A clip in H.264 whose second half is noise."""
    clip = probe(path)
    images = list(read_frames(clip, range(clip.frames)))
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=round(clip.fps), options={"g": "10", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = *clip.size_px, "yuv420p"
        for image in images:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image[..., ::-1]))))
        file.mux(stream.encode())
    with av.open(str(path)) as file:
        places = [(packet.pos, packet.size) for packet in file.demux(file.streams.video[0]) if packet.size]
    content = bytearray(path.read_bytes())
    for at, size in places[len(places) // 2 :]:
        assert at is not None
        content[at : at + size] = b"\xff" * size
    path.write_bytes(content)


def test_a_sound_session_is_good_and_nothing_is_written(tiny, capsys):
    before = {path: path.stat().st_mtime_ns for path in tiny.rglob("*")}
    status, bad, checks = doctor(tiny, capsys)
    assert (status, bad) == (0, {})
    named = {check["name"] for check in checks}
    assert {"clips", "decoding", "focus", "exposure", "calibration", "hands found", "disk", "memory", "time"} <= named
    assert {path: path.stat().st_mtime_ns for path in tiny.rglob("*")} == before


def test_faults_are_named_with_the_view_and_a_remedy(tiny, capsys):
    videos = tiny / "videos"
    rewrite(videos / "c1.mp4", lambda images: [np.full_like(image, 9) for image in images])
    rewrite(tiny / "calibration" / "c2.mp4", lambda images: [np.full_like(image, 90) for image in images])
    shutil.copy(videos / "c0.mp4", videos / "top.y4m")
    status, bad, _ = doctor(tiny, capsys)
    assert status == 3, "one of eight views without a calibration is more than dead_views allows"
    assert bad["exposure"]["view"] == "c1"
    assert "light" in bad["exposure"]["remedy"]
    assert bad["calibration"]["view"] == "c2"
    assert "Show it to this camera for longer" in bad["calibration"]["remedy"]
    assert bad["hands found"]["view"] == "c1"
    assert "top.y4m" in bad["unused files"]["reason"]


def test_errors_give_status_3(tiny, capsys):
    for name in ("c1", "c4"):
        path = tiny / "videos" / f"{name}.mp4"
        path.write_bytes(path.read_bytes()[:-4000])
    cut_short(tiny / "calibration" / "c2.mp4")
    status, bad, checks = doctor(tiny, capsys)
    assert bad["decoding"]["view"] == "c2"
    assert "cannot be decoded" in bad["decoding"]["reason"]
    assert status == 3
    assert {check["view"] for check in checks if check["name"] == "clips" and check["severity"] == "error"} == {
        "c1",
        "c4",
    }
    assert "truncated" in bad["clips"]["reason"]
    assert "Copy it again" in bad["clips"]["remedy"]


@pytest.mark.parametrize(("make", "said"), [(False, "no such folder"), (True, "no folder `videos`")])
def test_what_is_no_session_is_one_message(tmp_path, capsys, make, said):
    if make:
        (tmp_path / "s").mkdir()
    assert main(["doctor", str(tmp_path / "s")]) == 2
    assert said in capsys.readouterr().err


def test_a_session_without_clips_has_an_error(tmp_path, capsys):
    (tmp_path / "videos").mkdir()
    status, bad, _ = doctor(tmp_path, capsys)
    assert status == 3
    assert "expected one clip per camera" in bad["session folder"]["reason"]


def test_a_single_view_is_not_enough(tmp_path, capsys):
    (tmp_path / "videos").mkdir()
    write(tmp_path / "videos" / "c0.mp4")
    status, bad, _ = doctor(tmp_path, capsys)
    assert status == 3
    assert "board" in bad["calibration"]["reason"]


def test_a_folder_that_cannot_be_written_to(tiny, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    (check,) = room_checks(read_session(tiny, CaptureSettings()), str(tiny / "session.zarr"))
    assert check.severity == "error"
    assert "not writable" in check.reason
    assert "--store" in check.remedy


def test_a_computed_session_says_what_is_there(computed, capsys):
    status, bad, checks = doctor(computed, capsys)
    assert (status, bad) == (0, {})
    earlier = next(check for check in checks if check["name"] == "earlier results")
    assert "calibrate, detect, triangulate, fit complete" in earlier["reason"]
    assert "calibration" in {check["name"] for check in checks}, "a file that calibrate wrote stands for no other"


def test_supplied_cameras_are_checked_in_place_of_the_board(computed, tiny, capsys):
    shutil.copy(computed / "cameras.toml", tiny / "cameras.toml")
    shutil.rmtree(tiny / "calibration")
    status, bad, checks = doctor(tiny, capsys)
    assert (status, bad) == (0, {})
    assert "8 cameras" in next(check["reason"] for check in checks if check["name"] == "cameras")
    text = (tiny / "cameras.toml").read_text()
    (tiny / "cameras.toml").write_text(
        text.replace('name = "c3"', 'name = "other"').replace('name = "c4"', 'name = "o2"')
    )
    status, bad, _ = doctor(tiny, capsys)
    assert status == 3
    assert "cameras" in bad
