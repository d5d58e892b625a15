"""The clock that the cameras of a network share: PTP (IEEE 1588), by the names that GenICam and older cameras use."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..camera import CameraError

NAMES = (
    ("PtpEnable", "PtpDataSetLatch", "PtpStatus"),
    ("GevIEEE1588", "GevIEEE1588DataSetLatch", "GevIEEE1588Status"),
)
"""To switch it on, to have its state read, and the state."""

READY = ("Master", "GrandMaster", "Slave")
"""States of a clock that is synchronised, or that the others follow."""

WAIT_S, LOOK_S = 15.0, 0.2
"""A clock has this long to be synchronised; it is asked so often."""


@dataclass(frozen=True)
class Nodes:
    """Settings and commands of a camera, by name."""

    has: Callable[[str], bool]
    get: Callable[[str], Any]
    set: Callable[[str, Any], None]
    execute: Callable[[str], Any]


def follow_ptp(nodes: Nodes, serial: str, wait_s: float = WAIT_S) -> None:
    """Switch the shared clock on, and wait until the camera follows it or gives it.

    Raises:
        CameraError: the camera has no such clock, or hears of no other.
    """
    names = next((each for each in NAMES if nodes.has(each[0])), None)
    if names is None:
        raise CameraError(f"ptp: the camera {serial} has no PTP clock. Remove `ptp` for this camera.")
    enable, latch, status = names
    nodes.set(enable, True)
    until_s = time.monotonic() + wait_s
    while True:
        if nodes.has(latch):
            nodes.execute(latch)
        found = str(nodes.get(status))
        if found in READY:
            return
        if time.monotonic() >= until_s:
            raise CameraError(
                f"ptp: expected the clock of the camera {serial} to be synchronised within {wait_s:g} s, but its state "
                f"is {found}. Check that the other cameras have `ptp` too, and that the switch forwards PTP."
            )
        time.sleep(LOOK_S)
