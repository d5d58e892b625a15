"""Biovision Hierarchy (BVH)."""

# Ring 2: reads and writes.

from __future__ import annotations

from pathlib import Path

from ...recording import Recording
from ..format import MotionFormat


def _write(recording: Recording, out: Path) -> list[str]:
    from .export import write

    return write(recording, out)


FORMAT = MotionFormat(
    name="bvh",
    title="Skeletons in BVH, for animation programs",
    suffixes=(".bvh",),
    reads="joints with names like WRIST, INDEX_MCP or LeftHandIndex1",
    writes="a skeleton for each hand in one file, in centimetres, y up",
    loses="shape and skin, the fingertips' motion in their bones, missing frames",
    write=_write,
    read_back="bvh FILE FILE OUT",
    within=1e-6,
    keeps_gaps=False,
)
