"""Findings: the checks of `core/quality.py`, and how a rule's error becomes one of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ..core.quality import Check, Severity


def fine(name: str, found: str, value: float | None = None, limit: float | None = None) -> Check:
    """What is as it should be; `found` says what was looked at."""
    return Check(name, "ok", value, limit, "", found)


def told(name: str, severity: Severity, message: str, view: str = "") -> Check:
    """A rule's sentence as a finding: what was expected and found is the reason, the rest is the remedy.

    Rules say `WHERE: expected ..., but found .... What to do.`
    """
    start = max(message.find(", but "), 0)
    end = re.search(r"[.;] (?=[A-Z`])|; (?=show|use|record)", message[start:])
    if end is None:
        return Check(name, severity, None, None, view, message)
    at = start + end.start()
    remedy = message[start + end.end() :]
    return Check(name, severity, None, None, view, f"{message[:at]}.", _sentence(remedy))


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""


def worse(name: str, sentences: Iterable[str], severity: Severity = "warning") -> tuple[Check, ...]:
    """A finding for each sentence of a rule."""
    return tuple(told(name, severity, sentence) for sentence in sentences)


def listed(values: Mapping[str, float], form: str, most: int = 6) -> str:
    """`c1 3.2 px, c7 2.9 px and 4 more`, the largest first."""
    order = sorted(values, key=lambda view: -values[view])
    shown = ", ".join(f"{view} {values[view]:{form}}" for view in order[:most])
    return shown + (f" and {len(order) - most} more" if len(order) > most else "")
