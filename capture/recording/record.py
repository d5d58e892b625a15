"""recording.json: what `handpipe record` says about a recording. It is never trusted when it is read."""

# Ring 2: reads and writes.

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Required

from pydantic import Field, FiniteFloat, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from ...core.errors import SessionError
from ...core.files import read_text, shorten
from ...core.storage.atomic import write_whole
from .place import Kind, Place
from .settings import unusable_names

RECORDING = "recording"
"""The state of a recording that has not ended."""

MAX_RECORD_BYTES = 16 << 20


def write_record(place: Place, record: Mapping[str, Any]) -> None:
    """recording.json, in one step."""
    write_whole(place.record, json.dumps(record, indent=1, ensure_ascii=False) + "\n")


class _Process(TypedDict):
    machine: str
    pid: Annotated[int, Field(gt=0, lt=1 << 31)]
    started: FiniteFloat


class _Together(TypedDict):
    """Of computers that recorded together."""

    id: str
    host: str
    leader: bool
    clock: list[Annotated[list[FiniteFloat], Field(min_length=3, max_length=3)]]
    error_s: FiniteFloat


class _Camera(TypedDict, total=False):
    settings: dict[str, Any]
    frames: Annotated[int, Field(ge=0)]
    missing: dict[str, Annotated[int, Field(ge=0)]]
    clock: dict[str, FiniteFloat]


class _Record(TypedDict, total=False):
    """What is read of a recording.json; it says more."""

    state: Required[str]
    cameras: Required[dict[str, _Camera]]
    notes: list[str]
    kind: Kind
    process: _Process
    together: _Together
    end_monotonic_s: FiniteFloat | None
    trigger_error_s: FiniteFloat | None


class _Ended(_Record, total=False):
    trigger: str
    rate: Annotated[FiniteFloat, Field(gt=0)]


class _GoingOn(_Record):
    """What cannot be done without, where the recording is still to be completed."""

    trigger: str
    rate: Annotated[FiniteFloat, Field(gt=0)]


def read_record(path: Path) -> dict[str, Any]:
    """A recording.json. Raises SessionError if it is none."""
    try:
        found = json.loads(read_text(path, "the record of a recording", MAX_RECORD_BYTES))
        going_on = isinstance(found, dict) and found.get("state") == RECORDING
        TypeAdapter(_GoingOn if going_on else _Ended).validate_python(found, strict=True)
        json.dumps(found, ensure_ascii=False).encode()  # JSON can say half a letter, which no file can hold.
        # They become names of files.
        for said in unusable_names(found["cameras"]):
            raise ValueError(said)
    except (ValueError, RecursionError) as error:
        reason = str(error)
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            reason = f"{shorten('.'.join(map(str, first['loc'])) or 'all')}: {first['msg']}"
        raise SessionError(
            f"{path}: expected what `handpipe record` wrote, but it cannot be read ({reason}). Remove the file."
        ) from error
    return found
