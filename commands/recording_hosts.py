"""Several computers: `handpipe record --leader` and `--join`, and `handpipe merge` for what they recorded."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from ..capture.recording.settings import RigConfig
from ..core.errors import ConfigError
from ..screen import Row, Screen
from ..settings import Config
from . import Reporting

if TYPE_CHECKING:
    from ..capture.recording.hosts.together import Together
    from .recording import Record


@contextmanager
def joined(command: Record, rig: RigConfig, kind: str, screen: Screen) -> Iterator[tuple[RigConfig, Together | None]]:
    """The other computers of a recording, and the rig with the length that their leader says; None where there are
    none.

    Raises:
        ConfigError: flags that exclude each other.
        RecordingError: the address cannot be used, or nobody leads there.
    """
    if command.leader is None and command.join is None:
        yield rig, None
        return
    _check_flags(command)
    from ..capture.recording.hosts.follower import Follower
    from ..capture.recording.hosts.leader import Leader
    from ..capture.recording.hosts.together import Terms

    terms = Terms(kind, rig.rate, rig.trigger, rig.session)
    if command.join is not None:
        with Follower(command.join, terms, list(rig.cameras)) as follower:
            screen.say("joined; waiting for the leader to start")
            yield replace(rig, duration_s=follower.duration_s), follower
        return
    address = address_of("--leader", command.leader or "")
    with Leader(address, command.others, terms, list(rig.cameras), rig.duration_s, screen.say) as leader:
        screen.say(f"waiting for {command.others} more: on each, `handpipe record ... --join {leader.address}`")
        yield rig, leader


def address_of(flag: str, text: str) -> tuple[str, int]:
    """Address and port. Raises ConfigError."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise ConfigError(f"{flag} {text}: expected ADDRESS:PORT, such as 127.0.0.1:8470. Correct it.")
    return host.strip("[]"), int(port)


def _check_flags(command: Record) -> None:
    if command.leader is not None and command.join is not None:
        raise ConfigError("--leader: expected it without --join, but found both. One computer leads, the others join.")
    if command.intrinsics is not None:
        raise ConfigError("--intrinsics: expected it without --leader and --join: a lens is filmed by one computer.")
    if command.then is not None:
        raise ConfigError("--then: expected it without --leader and --join: `handpipe merge` the takes first.")
    if command.join is not None and command.duration_s is not None:
        raise ConfigError("--duration-s: expected it without --join: the leader says how long it is. Give it there.")
    if command.others < 1:
        raise ConfigError(f"--others: expected 1 or more, but found {command.others}. Correct it.")


@dataclass(frozen=True, kw_only=True)
class Merge(Reporting):
    """Make one session of what several computers recorded together."""

    out: Annotated[Positional[Path], arg(metavar="OUT")]
    """The folder to write. Clips are linked where the disk is the same, else copied."""
    folders: Annotated[Positional[tuple[Path, ...]], arg(metavar="FOLDER...")]
    """The folder of each computer's recordings, or a take of each."""

    def execute(self, config: Config, screen: Screen) -> dict[str, Any]:
        from ..capture.recording.hosts.merging import merge_sessions

        records = merge_sessions(self.folders, self.out)
        rows = {name: _rows(record) for name, record in records.items()}
        screen.table("merged", rows)
        for record in records.values():
            for note in record["notes"]:
                screen.say(f"warning: {note}")
        return {"merged": str(self.out), "recordings": records}


def _rows(record: dict[str, Any]) -> list[Row]:
    lost = sum(sum(each["missing"].values()) for each in record["cameras"].values())
    rows = [
        Row("computers", ", ".join(record["hosts"])),
        Row("views", f"{len(record['cameras'])}, {record['instants']} instants, {lost} frames missing"),
        Row("clocks", f"known to {1e3 * record['clock_error_s']:.2f} ms"),
    ]
    if record["skew"] is not None:
        rows.append(Row("views apart", f"{1e3 * record['skew']['median_s']:.2f} ms (median)"))
    return rows
