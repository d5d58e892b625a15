"""The recordings of several computers, made into one session: clips linked, every frame on the leader's clock."""

# Ring 2: reads and writes.

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from ....core.errors import SessionError
from ....core.storage.atomic import appearing
from ...video import find_clips, probe
from ..accounts import STOPPED_EARLY, last_instant
from ..camera import RecordingError
from ..closing import AT_THE_END, complete, enter, most_instants
from ..journal import SUFFIX, CameraLog
from ..place import RECORD, Place, share
from ..record import read_record, write_record
from .offsets import Offsets

ADVICE = "Record with --leader on one computer and --join on the others (docs/recording.md)."


@dataclass(frozen=True)
class Part:
    """What one computer recorded."""

    place: Place
    record: Mapping[str, Any]
    logs: Mapping[str, CameraLog]
    """By camera, on the leader's clock."""
    end_s: float
    """The same."""

    @property
    def who(self) -> str:
        """The computer."""
        return self.record["together"]["host"]


def merge_sessions(folders: Sequence[Path], out: Path) -> dict[str, dict[str, Any]]:
    """Merge what several computers recorded: takes, or folders with takes and the board's and lenses' clips.

    Args:
        folders: one of each computer; takes have the numbers that they have in the first.
        out: the folder to write.

    Returns:
        recording.json of each recording, by its folder.

    Raises:
        RecordingError: they are not recordings of the same moments, or `out` exists.
    """
    if len(folders) < 2:
        raise RecordingError("expected the folders of two computers or more, but found one. Name the others too.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RecordingError(f"{out}: expected a folder that does not exist yet, but it does. Name another one.")
    if all((folder / RECORD).is_file() for folder in folders):
        with appearing(out) as place:
            return {out.name: _merge(folders, place)}
    found = [_recordings(folder) for folder in folders]
    with appearing(out) as place:
        records = {}
        for key, first in found[0].items():
            lacking = [str(folder) for folder, each in zip(folders, found, strict=True) if key not in each]
            if lacking:
                raise RecordingError(
                    f"{first}: expected the same recording of every computer, but {lacking[0]} has none of it. Copy "
                    "all takes of that computer, or remove this one."
                )
            records[first.name] = _merge([each[key] for each in found], place / first.name)
        _link_lenses(folders, place)
        for name in records:
            if name != "calibration":
                share(place, place / name)
    return records


def _recordings(folder: Path) -> dict[str, Path]:
    """The recordings of a folder, by their id."""
    roots = [path.parent for path in sorted(folder.glob(f"*/{RECORD}"))] if folder.is_dir() else []
    roots = [root for root in roots if root.name != "intrinsics"]
    if not roots:
        raise RecordingError(f"{folder}: expected takes of `handpipe record`, but there are none. Correct the path.")
    return {_together(root, read_record(root / RECORD))["id"]: root for root in roots}


def _together(root: Path, record: Mapping[str, Any]) -> Mapping[str, Any]:
    if "together" not in record:
        raise RecordingError(
            f"{root}: expected a clock that other computers share, but it was recorded alone. {ADVICE}"
        )
    together = record["together"]
    at_s = [at_s for at_s, _, _ in together["clock"]]
    if not together["leader"] and (not at_s or sorted(at_s) != at_s):
        raise RecordingError(
            f"{root / RECORD}: expected measurements of the leader's clock in the order of time, but found "
            f"{'others' if at_s else 'none'}. Copy the take again."
        )
    return together


def _merge(roots: Sequence[Path], out: Path) -> dict[str, Any]:
    """Write one merged recording."""
    parts = [_part(root) for root in roots]
    _check(parts)
    first = parts[0]
    place = Place(first.place.kind, out)
    place.clips.mkdir(parents=True)
    for part in parts:
        for name in part.logs:
            _link(part.place.clip(name), place.clip(name))
    if (first.place.root / "session.yaml").is_file():
        shutil.copy2(first.place.root / "session.yaml", out)
    logs = {name: log for part in parts for name, log in part.logs.items()}
    if first.record["trigger"] == "software":
        _same_end(parts)
    record = _record(parts)
    enter(out, record, logs, max(part.end_s for part in parts), most_instants(logs))
    if record["skew"] is not None and record["skew"]["error_s"] is not None:
        record["skew"]["error_s"] += record["clock_error_s"]
    write_record(place, record)
    return record


def _part(root: Path) -> Part:
    said = complete(root)
    record = read_record(root / RECORD)
    together = _together(root, record)
    place = Place(record["kind"], root)
    logs = {}
    for name in record["cameras"]:
        path = place.work / f"{name}{SUFFIX}"
        if not path.is_file():
            raise RecordingError(
                f"{path}: expected the journal of this camera, but there is no such file. Copy the take with its "
                "hidden folder .recording."
            )
        logs[name] = CameraLog(path, _frames(place.clip(name), record["cameras"][name]["frames"]))
    clock = _clock(together)
    for log in logs.values():
        log.move(clock)
    last_s = max((float(log.host_s.max()) for log in logs.values() if log.frames), default=0.0)
    end_s = float(clock(np.array([record["end_monotonic_s"]]))[0]) if "end_monotonic_s" in record else last_s
    notes = [*record.get("notes", []), *([said] if said else [])]
    return Part(place, {**record, "notes": notes}, logs, end_s)


def _frames(clip: Path, kept: int) -> int:
    return probe(clip).frames if kept else 0


def _clock(together: Mapping[str, Any]) -> Callable[[ndarray], ndarray]:
    """From a computer's clock to the leader's."""
    if together["leader"]:
        return lambda here_s: here_s
    return Offsets(*np.array(together["clock"], np.float64).T).there_s


def _check(parts: Sequence[Part]) -> None:
    """Raise RecordingError for what is not one recording."""
    first = parts[0]
    owner: dict[str, Part] = {}
    for part in parts:
        root = part.place.root
        if part.record["together"]["id"] != first.record["together"]["id"] or part.place.kind != first.place.kind:
            raise RecordingError(
                f"{root}: expected the recording that {first.place.root} is a part of, but it is another one. Name the "
                "takes that were started together."
            )
        for name in part.logs:
            other = owner.setdefault(name, part)
            if other is not part:
                raise RecordingError(
                    f"{root}: expected views with names of their own, but {name} is also in {other.place.root}. Name "
                    "each computer's folder once, and give cameras different names."
                )
    spans = [
        (min(log.host_s[0] for log in part.logs.values() if log.frames), part)
        for part in parts
        if any(log.frames for log in part.logs.values())
    ]
    for begin_s, part in spans:
        for _, other in spans:
            if begin_s > other.end_s:
                raise RecordingError(
                    f"{part.place.root}: expected it to overlap {other.place.root}, but it begins "
                    f"{begin_s - other.end_s:.1f} s after that one ends. Was a clock set? Record again."
                )


def _same_end(parts: Sequence[Part]) -> None:
    """Triggers that a computer did not give, because it ended before the others, are entered for its cameras."""
    lasts = [last_instant([log.triggered() for log in part.logs.values()], AT_THE_END) for part in parts]
    for part, last in zip(parts, lasts, strict=True):
        for log in part.logs.values():
            for instant in range(last + 1, max(lasts) + 1):
                log.lost_instants.setdefault(instant, STOPPED_EARLY)


def _record(parts: Sequence[Part]) -> dict[str, Any]:
    """recording.json of all, without what the account says."""
    first = parts[0].record
    errors = [part.record.get("trigger_error_s") for part in parts]
    return {
        "state": "complete" if all(part.record["state"] == "complete" for part in parts) else "interrupted",
        **{key: first[key] for key in ("kind", "started", "trigger", "rate", "encoder", "versions")},
        "cameras": {name: each | {"host": part.who} for part in parts for name, each in part.record["cameras"].items()},
        "hosts": {part.who: {"folder": str(part.place.root), **part.record["together"]} for part in parts},
        "clock_error_s": max(part.record["together"]["error_s"] for part in parts),
        "trigger_error_s": max((error for error in errors if error is not None), default=None),
        "seconds": max(part.record.get("seconds", 0.0) for part in parts),
        "notes": [f"{part.who}: {note}" for part in parts for note in part.record["notes"]],
        "peak_memory_mb": max(part.record.get("peak_memory_mb", 0.0) for part in parts),
    }


def _link_lenses(folders: Sequence[Path], out: Path) -> None:
    """The lenses' clips of all computers."""
    for folder in folders:
        place = folder / "intrinsics"
        for view, path in (find_clips(place) if place.is_dir() else {}).items():
            if (out / "intrinsics" / path.name).exists():
                raise RecordingError(
                    f"{path}: expected a clip of a lens that no other computer filmed, but there are two of {view}. "
                    "Remove one."
                )
            (out / "intrinsics").mkdir(exist_ok=True)
            _link(path, out / "intrinsics" / path.name)
            record = place / f"{view}.{RECORD}"
            if record.is_file():
                shutil.copy2(record, out / "intrinsics")


def _link(source: Path, target: Path) -> None:
    """A second name of the same file; a copy where the file system has none, or it is another one."""
    if not source.is_file():
        raise SessionError(f"{source}: expected a clip, but there is no such file. Copy the take again.")
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
