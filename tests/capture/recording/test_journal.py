"""Journals as they are read: what a recorder wrote, and what nobody has written."""

from __future__ import annotations

import pytest

from handpipe.capture.recording.journal import MAX_LOST, CameraLog
from handpipe.core.errors import SessionError

GOOD = "S,0,5\nF,0,5,,10.0,,\nL,0,6,,2,lost by the camera\nF,0,8,,10.1,,\n"


def test_a_journal_and_a_line_that_was_cut_off(tmp_path):
    path = tmp_path / "a.journal"
    path.write_text(GOOD + "F,0,9,,10.")
    (run,) = CameraLog(path).runs()
    assert run.device_id.tolist() == [5, 8]
    assert run.first_id == 5
    assert run.lost == {6: "lost by the camera", 7: "lost by the camera"}


@pytest.mark.parametrize(
    "line",
    [
        "",
        "X,0,1",
        "S,0",
        "S,0,-1",
        "F,0,9,,10.2,",
        "F,0,9,,,,",
        "F,0,9,,nan,,",
        "F,0,9,,1e300,,",
        "F,0,\u00b2,,10.2,,",
        f"F,0,{10**30},,10.2,,",
        f"F,0,{'9' * 5000},,10.2,,",
        f"L,0,9,,{MAX_LOST},lost",
        "L,0,9,,-1,lost",
        "L,0,9,,1",
        "F,0,4,,10.2,,",
    ],
)
def test_a_line_that_nobody_writes(tmp_path, line):
    path = tmp_path / "a.journal"
    path.write_text(GOOD + line + "\n", encoding="utf-8")
    with pytest.raises(SessionError, match=r"a.journal: line 5: expected what `handpipe record` writes, but found"):
        CameraLog(path)


def test_a_journal_that_is_no_text(tmp_path):
    path = tmp_path / "a.journal"
    path.write_bytes(b"\xff\xfe\n")
    with pytest.raises(SessionError, match="which is text, but found other bytes"):
        CameraLog(path)
