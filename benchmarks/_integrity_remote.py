"""Runs on an object store."""

from __future__ import annotations

from _integrity_processes import Fault

REMOTE: dict[str, Fault] = {}
