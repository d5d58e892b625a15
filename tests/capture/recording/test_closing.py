"""A recording that was interrupted, as its files tell of it: completed, or refused where somebody has changed them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from handpipe.capture.recording import closing
from handpipe.capture.recording.camera import CameraInfo, Format
from handpipe.capture.recording.clip_file import ClipFile, mend
from handpipe.capture.recording.closing import complete
from handpipe.capture.recording.record import read_record
from handpipe.capture.recording.settings import EncoderSettings
from handpipe.capture.session import read_session
from handpipe.capture.settings import CaptureSettings
from handpipe.core.errors import SessionError

RECORD: dict[str, Any] = {
    "state": "recording",
    "kind": "take",
    "process": {"machine": "elsewhere", "pid": 1, "started": 1.0},
    "trigger": "free-run",
    "rate": 30.0,
    "cameras": {"left": {"backend": "file"}, "right": {"backend": "file"}},
}


@pytest.fixture
def interrupted(tmp_path, monkeypatch):
    """Writes the files of a recording of two cameras; their clips have more frames than the journals."""
    monkeypatch.setattr(closing, "mend", lambda path: 9)
    monkeypatch.setattr(closing, "QUIET_S", -1.0)

    def write(record: object, **lines: str):
        (tmp_path / ".recording").mkdir()
        (tmp_path / "videos").mkdir()
        for name in ("left", "right"):
            (tmp_path / "videos" / f"{name}.mkv").touch()
            frames = "".join(f"F,0,{k},,{10 + k / 30},,\n" for k in range(5))
            (tmp_path / ".recording" / f"{name}.journal").write_text("S,0,0\n" + frames + lines.get(name, ""))
        (tmp_path / "recording.json").write_text(record if isinstance(record, str) else json.dumps(record))
        return tmp_path

    return write


def test_it_is_completed(interrupted):
    root = interrupted(RECORD)
    assert "was interrupted" in str(complete(root))
    assert len((root / "timestamps.csv").read_text().splitlines()) == 1 + 2 * 5
    assert read_record(root / "recording.json")["state"] == "interrupted"
    assert complete(root) is None


def test_a_record_with_half_a_letter_is_refused(interrupted):
    root = interrupted(json.dumps({**RECORD, "take": "\ud800"}))
    with pytest.raises(SessionError, match="expected what `handpipe record` wrote, but it cannot be read"):
        complete(root)


def test_a_clip_that_is_damaged_is_named_and_can_be_left_out(interrupted, monkeypatch):
    root = interrupted(RECORD)
    monkeypatch.setattr(closing, "mend", mend)
    for name in ("left", "right"):
        (root / "videos" / f"{name}.mkv").unlink()
        source = Format((64, 48), "gray", 30.0, CameraInfo("test", "1"))
        clip = ClipFile(root / "videos" / f"{name}.mkv", source, EncoderSettings(codec="h264"))
        for n in range(30):
            clip.write(np.full((48, 64), 4 * n, np.uint8))
        clip.abandon()
    path = root / "videos" / "left.mkv"
    for codec, what in ((b"V_XPEG4/ISO/AVC", "no codec"), (b"V_\xff\xfeEG4/ISO/AVC", "")):
        whole = path.read_bytes()
        assert b"V_MPEG4/ISO/AVC" in whole
        path.write_bytes(whole.replace(b"V_MPEG4/ISO/AVC", codec))
        with pytest.raises(SessionError, match=rf"left.mkv: expected a clip .* damaged \(.*{what}.*remove it"):
            complete(root)
        path.write_bytes(whole)
    path.unlink()
    assert "was interrupted" in str(complete(root))
    assert [(clip.view, clip.frames) for clip in read_session(root, CaptureSettings()).clips] == [("right", 26)]


def test_without_its_clips_nothing_is_completed(interrupted):
    root = interrupted(RECORD)
    for clip in (root / "videos").iterdir():
        clip.unlink()
    assert complete(root) is None
    assert not (root / "timestamps.csv").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"state": 1},
        {"kind": "film"},
        {"process": []},
        {"process": {**RECORD["process"], "pid": "1"}},
        {"process": {**RECORD["process"], "pid": 10**30}},
        {"rate": 0.0},
        {"rate": 10**400},
        {"trigger": None},
        {"cameras": []},
        {"cameras": {"left": 1}},
        {"cameras": {"../../left": {}}},
        {"cameras": {"left": {"missing": {"lost": "many"}}}},
        {"cameras": {"left": {"clock": {"error_s": "nan"}}}},
        {"end_monotonic_s": "now"},
        {"notes": "none"},
    ],
)
def test_a_record_that_nobody_has_written(interrupted, change):
    root = interrupted({**RECORD, **change})
    with pytest.raises(SessionError, match=r"recording.json: expected what `handpipe record` wrote, but it cannot be"):
        complete(root)


def test_a_record_that_is_nested_deep(interrupted):
    root = interrupted("[" * 100_000)
    with pytest.raises(SessionError, match="expected what `handpipe record` wrote"):
        complete(root)


@pytest.mark.parametrize(
    ("record", "lines"),
    [
        (RECORD, "F,0,99999999999,,10.2,,\n"),
        (RECORD, "F,0,6,,1000000000.0,,\n"),
        (RECORD, "L,0,99999999999,,1,lost\n"),
        ({**RECORD, "end_monotonic_s": 1e17}, ""),
        ({**RECORD, "trigger": "software"}, "F,0,6,99999999999,10.2,,10.2\n"),
        ({**RECORD, "trigger": "software"}, "L,0,6,99999999999,1,lost\n"),
    ],
)
def test_more_instants_than_there_can_be(interrupted, record, lines):
    root = interrupted(record, left=lines)
    with pytest.raises(SessionError, match=r"instants for the frames that were kept, but found .*e\+"):
        complete(root)
