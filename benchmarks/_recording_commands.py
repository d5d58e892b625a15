"""`handpipe record` with emulated cameras, as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml


def handpipe(*words: object, cameras: int = 1) -> subprocess.Popen[str]:
    """A command of handpipe, with emulated cameras."""
    command = [sys.executable, "-m", "handpipe", *map(str, words)]
    environment = {**os.environ, "PYLON_CAMEMU": str(cameras)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def said(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Its figures."""
    out, _ = process.communicate()
    assert process.returncode == 0, f"{process.args} ended with {process.returncode}"
    return json.loads(out)


def rig_of_clips(path: Path, cameras: Mapping[str, Mapping[str, Any]], seconds: float) -> None:
    """A rig.yaml of clips that are played in real time, with faults on order."""
    encoder, defaults = {"codec": "ffv1"}, {"backend": "file"}
    content = {"rate": 30.0, "defaults": defaults, "cameras": cameras, "encoder": encoder, "duration_s": seconds}
    path.write_text(yaml.safe_dump(content))


def rig(folder: Path, count: int, width: int, height: int, rate: float, **more: Any) -> Path:
    """A rig.yaml of emulated cameras."""
    path = folder / "rig.yaml"
    camera = {"backend": "pylon", "width": width, "height": height, "exposure_us": 3000.0, "pixel_format": "Mono8"}
    content = {
        "rate": float(rate),
        "defaults": camera,
        "cameras": {f"c{n + 1}": {"serial": f"0815-{n:04}"} for n in range(count)},
        **more,
    }
    path.write_text(yaml.safe_dump(content))
    return path
