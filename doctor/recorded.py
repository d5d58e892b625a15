"""What `handpipe record` noted of a session: frames that it lost and why, and clocks that are not well known."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..capture.recording.place import RECORD
from ..capture.recording.record import read_record
from ..core.errors import SessionError
from ..core.quality import Check
from .findings import fine, told, worse

MANY_LOST = 0.01
"""Share of a camera's frames that may be missing."""

MAX_CLOCK_ERROR = 0.1
"""Standard error of a camera's time, in frames, that the fit does not notice."""

REMEDIES = {
    "queue full": "Record with a faster disk or `encoder.preset`, a lower rate, or smaller images; raise `queue_mb`.",
    "disk full": "Free some space before the next recording.",
    "not ready for the trigger": "Lower `rate`, or shorten the exposure.",
    "triggered too late": "Close other programs, or let a signal trigger the cameras (`trigger: line`).",
    "not connected": "Check the cables and the power of this camera.",
}
"""What to do about frames that are missing for a reason; cables and ports for all others."""


def recording_checks(root: Path) -> Iterator[Check]:
    """Findings about the recording of a session; none where handpipe did not record it."""
    if not (root / RECORD).is_file():
        return
    try:
        record = read_record(root / RECORD)
    except SessionError as error:
        yield told("recording", "error", str(error))
        return
    cameras = record["cameras"]
    yield from worse("recording", record.get("notes", []))
    worst = 0.0
    for name, each in cameras.items():
        lost = each.get("missing", {})
        share = sum(lost.values()) / max(sum(lost.values()) + each.get("frames", 0), 1)
        worst = max(worst, share)
        if share > MANY_LOST:
            reason = ", ".join(f"{count} {why}" for why, count in lost.items())
            why = max(lost, key=lambda key: lost[key])
            yield Check(
                "recording",
                "warning",
                share,
                MANY_LOST,
                name,
                f"expected at most {MANY_LOST:.0%} of the frames of {name} missing, but {share:.1%} are ({reason}).",
                REMEDIES.get(why, "Use another cable or port, fewer cameras for each controller, or a lower rate."),
            )
        error = each.get("clock", {}).get("error_s", 0.0) * record.get("rate", 0.0)
        if error > MAX_CLOCK_ERROR:
            reason = f"expected the times of {name} to be known to {MAX_CLOCK_ERROR:g} frames, but found {error:.2g}."
            yield Check(
                "recording", "warning", error, MAX_CLOCK_ERROR, name, reason, "Trigger the cameras, or record longer."
            )
    found = f"{record.get('state')}, {len(cameras)} cameras, trigger {record.get('trigger')}, {record.get('rate')} fps"
    yield fine("recording", f"{found}; at most {worst:.1%} of a camera's frames missing", worst, MANY_LOST)
