"""MediaPipe's hand landmark model: located, or extracted from an older mediapipe wheel.

MediaPipe 0.10.30 and later contain no model. The Tasks API reads a bundle: an uncompressed zip of a palm detector and a
landmark network. Both are in the wheel of mediapipe 0.10.21 (Apache-2.0), which Python package indexes provide. The
bundle is created from it once and kept in the user's cache.
"""

# Ring 2: reads and writes.

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from ...core.errors import ModelError, disk_errors
from ...core.storage.atomic import appearing

WHEEL = "mediapipe==0.10.21"

PALMS, LANDMARKS = "hand_detector.tflite", "hand_landmarks_detector.tflite"
"""The networks in the bundle."""

DETECTORS = ("mediapipe", "mediapipe-torch")
"""Those that use it if `detection.model` names no other."""

PARTS = {
    PALMS: (
        "mediapipe/modules/palm_detection/palm_detection_full.tflite",
        "1b14e9422c6ad006cde6581a46c8b90dd573c07ab7f3934b5589e7cea3f89a54",
    ),
    LANDMARKS: (
        "mediapipe/modules/hand_landmark/hand_landmark_full.tflite",
        "11c272b891e1a99ab034208e23937a8008388cf11ed2a9d776ed3d01d0ba00e3",
    ),
}
"""Name in the bundle: (name in the wheel, SHA-256)."""


def cache_folder() -> Path:
    """The user's cache for handpipe: $XDG_CACHE_HOME/handpipe, or ~/.cache/handpipe."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "handpipe"


def standard_path() -> Path:
    """Where the standard model is kept once it is built."""
    return cache_folder() / "hand_landmarker.task"


def resolve(configured: str | None = None) -> Path:
    """Path of the model bundle: the configured one, else the cached one, else built now.

    Raises:
        ModelError: the configured file is not a model bundle, or the wheel cannot be downloaded.
    """
    if configured is not None:
        path = Path(configured).expanduser()
        if not path.is_file() or not zipfile.is_zipfile(path):
            raise ModelError(
                f"{path}: expected a MediaPipe .task bundle, but found "
                f"{'another kind of file' if path.exists() else 'no file'}. Correct `detection.model`, or remove it "
                "to use the standard model."
            )
        return path
    path = standard_path()
    if not (path.is_file() and _genuine(path)):
        build(path)
    return path


def build(path: Path) -> None:
    """Download the wheel and write the bundle."""
    with disk_errors(str(path)), tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--only-binary=:all:", "--python-version", "3.11", "--platform", "manylinux_2_28_x86_64"]
        result = subprocess.run([*command, "--dest", folder, WHEEL], capture_output=True, text=True, check=False)
        wheels = list(Path(folder).glob("*.whl"))
        if result.returncode != 0 or not wheels:
            reason = (result.stderr.strip().splitlines() or ["pip printed no message"])[-1]
            raise ModelError(
                f"{path}: expected to build the hand model from the wheel {WHEEL}, but pip could not download it "
                f"({reason}). Connect to a package index, or set `detection.model` to a hand_landmarker.task file."
            )
        with zipfile.ZipFile(wheels[0]) as wheel:
            parts = {name: wheel.read(member) for name, (member, _) in PARTS.items()}
        for name, content in parts.items():
            found = hashlib.sha256(content).hexdigest()
            if found != PARTS[name][1]:
                raise ModelError(
                    f"{WHEEL}: expected {name} with SHA-256 {PARTS[name][1]}, but found {found}. "
                    "The package index provides a different file: use another index."
                )
        with appearing(path) as place, zipfile.ZipFile(place, "w", zipfile.ZIP_STORED) as bundle:
            for name, content in parts.items():
                bundle.writestr(zipfile.ZipInfo(name), content)


def _genuine(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as bundle:
            return all(hashlib.sha256(bundle.read(name)).hexdigest() == sha for name, (_, sha) in PARTS.items())
    except (zipfile.BadZipFile, KeyError):
        return False
