"""Recordings for tests: clips whose frames can be told apart, rigs of clips and of emulated cameras, and their rows."""

from __future__ import annotations

import csv
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from handpipe.capture.recording.channel import TOO_SLOW
from handpipe.commands.recording import Record
from handpipe.screen import Screen
from handpipe.settings import Config

# Read when pypylon is imported, which happens after this module.
os.environ.setdefault("PYLON_CAMEMU", "4")

SIZE = (64, 48)
"""Width, height."""
BRIGHTER = 2
"""Of each frame than the one before."""


def film(folder: Path, names: str = "abc", frames: int = 40, fps: float = 30.0) -> dict[str, Path]:
    """Clips by camera; frame n is gray of brightness 2 n."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        writer = cv2.VideoWriter(str(folder / f"{name}.avi"), cv2.VideoWriter.fourcc(*"FFV1"), fps, SIZE)
        for n in range(frames):
            writer.write(np.full((SIZE[1], SIZE[0], 3), BRIGHTER * n, np.uint8))
        writer.release()
    return {name: folder / f"{name}.avi" for name in names}


def rig_of_clips(folder: Path, faults: dict[str, Any] | None = None, **settings: Any) -> dict[str, Any]:
    """A rig.yaml's content: three cameras that play clips, with faults by camera."""
    cameras = {
        name: {"source": str(path)} | ({"faults": faults[name]} if faults and name in faults else {})
        for name, path in film(folder / "source").items()
    }
    defaults = {"rate": 30.0, "encoder": {"codec": "ffv1"}, "keep_free_gb": 0.0, "queue_mb": 16.0}
    return {**defaults, "defaults": {"backend": "file"}, "cameras": cameras, **settings}


def rig_of_emulated(count: int = 2, **settings: Any) -> dict[str, Any]:
    """The same of Basler's emulated cameras."""
    defaults = {"backend": "pylon", "width": 64, "height": 48, "exposure_us": 1000.0, "pixel_format": "Mono8"}
    return {
        **{"rate": 30.0, "keep_free_gb": 0.0, "queue_mb": 16.0, "encoder": {"codec": "ffv1"}},
        **{"defaults": defaults | settings.pop("camera", {})},
        **{"cameras": {f"c{n}": {"serial": f"0815-{n:04}"} for n in range(count)}},
        **settings,
    }


def write_rig(folder: Path, rig: dict[str, Any]) -> Path:
    """A rig.yaml."""
    path = folder / "rig.yaml"
    path.write_text(yaml.safe_dump(rig))
    return path


def record(folder: Path, rig: dict[str, Any], **flags: Any) -> dict[str, Any]:
    """What `handpipe record` returns."""
    return Record(session=folder / "day", rig=write_rig(folder, rig), **flags).execute(Config(), Screen())


def rows_of(take: Path) -> dict[str, list[dict[str, str]]]:
    """Rows of timestamps.csv by camera."""
    found = defaultdict(list)
    with (take / "timestamps.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            found[row["cam_id"]].append(row)
    return dict(found)


def missing_of(take: Path, reason: str) -> dict[str, list[int]]:
    """Triggers whose frame is missing for a reason, by camera. Those that a busy machine gave too late do not count."""
    found = {}
    for name, rows in rows_of(take).items():
        given = [row["missing"] for row in rows if row["missing"] != TOO_SLOW]
        found[name] = [at for at, why in enumerate(given) if why == reason]
    return found
