"""A disk without room for the account: what was recorded is kept, and completed later."""

from __future__ import annotations

import pytest
from recorded import record, rig_of_clips, rows_of

from handpipe.capture.recording import closing
from handpipe.capture.recording.camera import RecordingError
from handpipe.core.errors import DiskError


def test_a_disk_without_room_for_the_account_keeps_the_recording(tmp_path):
    def full(*_):
        raise DiskError("timestamps.csv: expected room to write.")

    take = tmp_path / "day" / "take-001"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(closing, "write_timestamps", full)
        with pytest.raises(RecordingError, match=r"the disk is full\. The recording is kept") as caught:
            record(tmp_path, rig_of_clips(tmp_path, duration_s=0.5))
    assert f"`handpipe doctor {take}`" in str(caught.value)
    # Its process is gone.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(closing, "is_going_on", lambda *_: False)
        assert "completed" in (closing.complete(take) or "")
    assert {len(rows) for rows in rows_of(take).values()} == {15}
