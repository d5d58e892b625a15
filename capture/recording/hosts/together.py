"""What a recording asks of the other computers that record with it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from ..camera import RecordingError

VERSION = 1
"""Of the messages: computers with another one cannot record together."""

START_S, END_S = 1.0, 0.4
"""From the message to the start and to the end that it announces, seconds: it has arrived everywhere by then."""


@dataclass(frozen=True)
class Terms:
    """What computers that record together have in common."""

    kind: str
    """`take` or `calibration`."""
    rate: float
    trigger: str
    session: Mapping[str, Any]
    """Settings for the session.yaml."""
    version: int = VERSION

    def check(self, other: Mapping[str, Any], who: str) -> None:
        """Raise RecordingError for a computer that would record something else."""
        for key, mine in asdict(self).items():
            if other.get(key) != mine:
                raise RecordingError(
                    f"{who}: expected the same {key} as on the leader ({mine}), but found {other.get(key)}. "
                    "Use one rig.yaml for all computers, which differs in `cameras` alone."
                )


class Together(Protocol):
    """The other computers of a recording, as this one sees them. Times are seconds of this computer's clock."""

    notes: list[str]
    """What happened to the connections, a sentence each."""

    def begin(self, stop: threading.Event) -> float:
        """All cameras of this computer are ready: wait for the others. Returns when the recording starts.

        `stop` is set when another computer ends the recording.

        Raises:
            RecordingError: another one is not able to start, or `stop` was set while it was waited for.
        """
        ...

    def due_s(self, since_s: float) -> float:
        """When it is so long after the start."""
        ...

    def end(self) -> float:
        """End the recording on all computers. Returns when."""
        ...

    def told(self) -> dict[str, Any]:
        """For recording.json: which recording it is, and this computer's clock on the leader's."""
        ...
