"""The end of a recording: timestamps.csv from the journals of all cameras, and recording.json complete.

The same for a recording whose process was killed, when somebody opens it.
"""

# Ring 2: reads and writes.

from __future__ import annotations

import csv
import math
import os
import platform
import shutil
import time
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from ...core.errors import SessionError
from ...core.storage.atomic import appearing
from .accounts import (
    Entries,
    Numbered,
    all_timed_entries,
    common_grid,
    entries_of,
    last_instant,
    numbered,
    shared_clock,
    skew,
    trigger_times,
    triggered_entries,
)
from .channel import ENDED, NOT_READY, TOO_SLOW
from .clip_file import mend
from .journal import SUFFIX, CameraLog
from .place import RECORD, TIMESTAMPS, Place
from .record import RECORDING, read_record, write_record

COLUMNS = ("sync_index", "cam_id", "frame_index", "frame_time", "host_time", "device_time", "missing")

AT_THE_END = (ENDED, NOT_READY, TOO_SLOW)
"""Triggers at the end that no camera took for these reasons are not part of the recording."""

INTERRUPTED = "interrupted"
"""Of one whose process was killed."""

SPARSE, FEW = 100, 200_000
"""Instants for each frame that was kept, and beyond: a recording that was interrupted has fewer."""

QUIET_S = 60.0
"""Journals of another machine that have not changed for so long belong to a recording that was killed."""


@dataclass(frozen=True)
class Account:
    """Every frame of a recording."""

    entries: Mapping[str, Entries]
    start_s: float
    """`frame_time` and `host_time` count from here; on the computer's clock."""
    clocks: Mapping[str, Mapping[str, float]]
    """Of each camera with a clock or numbers that were fitted."""


def account_of(
    logs: Mapping[str, CameraLog],
    rate: float,
    software: bool,
    end_s: float,
    most: float = math.inf,
    ptp: Collection[str] = (),
) -> Account:
    """Put the frames of all cameras on one clock, and into instants.

    Args:
        logs: what happened, by camera.
        rate: nominal frames per second.
        software: whether handpipe triggered.
        end_s: end of the recording on the computer's clock.
        most: instants that there can be.
        ptp: cameras that share one clock.

    Raises:
        SessionError: there are more.
    """
    if software:
        triggered = {name: log.triggered() for name, log in logs.items()}
        _check_extent(most, *(max([0, *each.instant.tolist(), *each.lost]) for each in triggered.values()))
        times = trigger_times(list(triggered.values()), rate)[: 1 + last_instant(list(triggered.values()), AT_THE_END)]
        entries = {name: triggered_entries(each, times) for name, each in triggered.items()}
        return Account(entries, _start(entries), {})
    found = {name: log.runs() for name, log in logs.items()}
    for run in (run for each in found.values() for run in each):
        numbers = [*run.device_id[[0, -1]].tolist(), *run.lost, *([] if run.first_id is None else [run.first_id])]
        _check_extent(most, max(numbers) - min(numbers))
    shared = shared_clock([found[name] for name in ptp])
    runs = {
        name: [numbered(run, 1 / rate, shared if name in ptp else None) for run in each] for name, each in found.items()
    }
    if not any(runs.values()):
        return Account({name: entries_of([]) for name in logs}, 0.0, {})
    grid = common_grid(list(runs.values()), 1 / rate)
    times = np.concatenate([[end_s, grid.start_s], *(run.time_s for each in runs.values() for run in each)])
    _check_extent(most, float(np.ptp(times)) / grid.period_s if grid.period_s > 0 else np.inf)
    entries = dict(zip(runs, all_timed_entries(list(runs.values()), grid, end_s), strict=True))
    return Account(entries, _start(entries), {name: _clock(each) for name, each in runs.items() if each})


def _check_extent(most: float, *instants: float) -> None:
    """Raise an error for more instants than there can be: a few lines of a damaged journal would fill the memory."""
    if not max(instants, default=0) <= most:
        raise SessionError(
            f"recording: expected at most {most} instants for the frames that were kept, but found "
            f"{max(instants):.4g}: numbers or times in its journals are damaged. Remove the folder .recording and "
            "recording.json to use the clips as they are."
        )


def _start(entries: Mapping[str, Entries]) -> float:
    return min((float(each.time_s[0]) for each in entries.values() if len(each.time_s)), default=0.0)


def _clock(runs: list[Numbered]) -> dict[str, float]:
    """What the fit says of a camera's clock, of its longest run."""
    longest = max(runs, key=lambda run: len(run.number))
    has_clock = bool(np.isfinite(longest.run.device_s).all())
    found = {"error_s": longest.fit.sigma_s, "arrival_jitter_s": longest.fit.jitter_s}
    found["drift_ppm" if has_clock else "period_s"] = (
        1e6 * (1 / longest.fit.slope - 1) if has_clock else longest.fit.slope
    )
    return {key: value for key, value in found.items() if np.isfinite(value)}


def write_timestamps(path: Path, account: Account) -> None:
    """One row for each frame and each missing frame, by instant; the file appears when it is complete."""
    names = list(account.entries)
    entries = list(account.entries.values())
    camera = np.concatenate([np.full(len(each.instant), at) for at, each in enumerate(entries)])
    row = np.concatenate([np.arange(len(each.instant)) for each in entries])
    order = np.lexsort((camera, np.concatenate([each.instant for each in entries])))
    with appearing(path) as place, place.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for at, index in zip(camera[order].tolist(), row[order].tolist(), strict=True):
            each = entries[at]
            frame = int(each.frame[index])
            writer.writerow(
                (
                    each.instant[index],
                    names[at],
                    frame if frame >= 0 else "",
                    f"{each.time_s[index] - account.start_s:.6f}",
                    _time(each.host_s[index] - account.start_s, 6),
                    _time(each.device_s[index], 9),
                    each.reason[index],
                )
            )


def _time(seconds: float, digits: int) -> str:
    return f"{seconds:.{digits}f}" if np.isfinite(seconds) else ""


def finish(place: Place, record: dict[str, Any], state: str, clip_frames: Mapping[str, int]) -> dict[str, Any]:
    """Write timestamps.csv and recording.json, and remove the journals; returns what recording.json says.

    Args:
        place: of the recording.
        record: what recording.json said so far.
        state: what it is now.
        clip_frames: frames of each clip.
    """
    logs = {name: CameraLog(place.work / f"{name}{SUFFIX}", clip_frames[name]) for name in record["cameras"]}
    end_s = record.get("end_monotonic_s")
    if end_s is None:
        end_s = max((float(log.host_s.max()) for log in logs.values() if log.frames), default=0.0)
    # A recorder's own numbers are right; those of files may be damaged.
    most = math.inf if state != INTERRUPTED else most_instants(logs)
    enter(None if place.kind == "intrinsics" else place.root, record, logs, end_s, most)
    record["state"] = state
    write_record(place, record)
    # The recordings of several computers are merged by the journals of all.
    if "together" not in record:
        shutil.rmtree(place.work)
    return record


def most_instants(logs: Mapping[str, CameraLog]) -> float:
    """Instants that there can be, by journals that may be damaged."""
    return SPARSE * sum(log.frames for log in logs.values()) + FEW


def enter(
    root: Path | None, record: dict[str, Any], logs: Mapping[str, CameraLog], end_s: float, most: float = math.inf
) -> None:
    """Make the account: timestamps.csv in `root`, if it is given, and in the record frames, clocks and times.

    Args:
        root: folder of timestamps.csv.
        record: what recording.json said so far; it is completed.
        logs: what happened, by camera.
        end_s: end of the recording on the clock of the logs.
        most: instants that there can be.

    Raises:
        SessionError: there are more.
    """
    ptp = [name for name, each in record["cameras"].items() if "ptp" in each.get("settings", {})]
    account = account_of(logs, record["rate"], record["trigger"] == "software", end_s, most, ptp)
    if root is not None and any(len(each.instant) for each in account.entries.values()):
        write_timestamps(root / TIMESTAMPS, account)
    for name, each in account.entries.items():
        record["cameras"][name] |= {"frames": int((each.frame >= 0).sum()), "missing": each.missing()}
        if name in account.clocks:
            record["cameras"][name]["clock"] = account.clocks[name]
    apart = skew(list(account.entries.values()))
    record |= {
        "instants": max(
            (int(each.instant[-1]) + 1 for each in account.entries.values() if len(each.instant)), default=0
        ),
        "skew": None if apart is None else asdict(apart) | {"error_s": _skew_error(record, account)},
    }


def _skew_error(record: Mapping[str, Any], account: Account) -> float | None:
    """How well the times of exposures are known, seconds: half the time that a trigger took, or the clocks' error."""
    if record["trigger"] == "software":
        return record.get("trigger_error_s")
    return max((clock.get("error_s", 0.0) for clock in account.clocks.values()), default=None)


def this_process() -> dict[str, Any]:
    """Who records: tells a recording that was killed from one that is going on."""
    return {"machine": platform.node(), "pid": os.getpid(), "started": psutil.Process().create_time()}


def is_going_on(process: Mapping[str, Any], work: Path) -> bool:
    """Whether the process that records is still there; one of another machine is, if the journals still grow."""
    if process.get("machine") != platform.node():
        changed = max((path.stat().st_mtime for path in work.glob(f"*{SUFFIX}")), default=0.0)
        return time.time() - changed < QUIET_S
    if not psutil.pid_exists(int(process.get("pid", -1))):
        return False
    try:
        return abs(psutil.Process(int(process["pid"])).create_time() - float(process["started"])) < 1
    except psutil.NoSuchProcess:
        return False


def complete(root: Path) -> str | None:
    """Complete the recording in a folder if its process was killed; returns a sentence about it, None if it was not.

    Raises:
        SessionError: it is being recorded at the moment.
    """
    if not (root / RECORD).is_file():
        return None
    record = read_record(root / RECORD)
    place = Place(record.get("kind", "take"), root.resolve() if root.is_symlink() else root)
    if record["state"] != RECORDING:
        return None
    if is_going_on(record.get("process", {}), place.work):
        raise SessionError(f"{root}: expected a recording that has ended, but it is going on. Stop it first.")
    # A clip is there from the start: somebody who took it away does without that camera.
    record["cameras"] = {name: said for name, said in record["cameras"].items() if place.clip(name).exists()}
    if not record["cameras"]:
        return None
    frames = {name: mend(place.clip(name)) for name in record["cameras"]}
    finish(place, record, INTERRUPTED, frames)
    return f"{root}: the recording was interrupted; its clips and timestamps.csv were completed up to that moment"
