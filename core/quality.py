"""What a result says of itself: checks with value, limit, reason and remedy, and the verdict that follows from them.

THE one place that the summary, `--json`, exports and reports ask whether a result can be used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

Severity = Literal["ok", "warning", "error"]

Verdict = Literal["good", "usable with warnings", "not usable"]


@dataclass(frozen=True)
class Check:
    """One check of a result."""

    name: str
    """What was checked, the same for every session."""
    severity: Severity
    value: float | None = None
    """What was found; None where it is no number."""
    limit: float | None = None
    """Beyond which it is a warning or an error."""
    view: str = ""
    """The view it is about; empty for the whole rig."""
    reason: str = ""
    """One sentence: expected, found, and why, as far as it was tested."""
    remedy: str = ""
    """One sentence: what to do."""

    @property
    def sentence(self) -> str:
        """For a person."""
        return " ".join(part for part in (self.reason, self.remedy) if part)


def verdict(checks: Sequence[Check]) -> Verdict:
    """Not usable with one error, with warnings with one warning, else good."""
    severities = {check.severity for check in checks}
    return "not usable" if "error" in severities else "usable with warnings" if "warning" in severities else "good"


def as_attributes(checks: Sequence[Check]) -> dict[str, object]:
    """Checks as attributes of the group `quality`."""
    return {"verdict": verdict(checks), "checks": [asdict(check) for check in checks]}


def from_attributes(attributes: dict[str, object]) -> tuple[Check, ...]:
    """The checks back; none where the group has none."""
    stored = attributes.get("checks")
    return tuple(Check(**entry) for entry in stored) if isinstance(stored, list) else ()
