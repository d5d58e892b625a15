"""A session's cameras from another program's file, and its cameras written for another program."""

# Ring 2: reads and writes.

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...calibration.cameras_toml import replace_cameras
from ...calibration.quality_gate import Judge
from ...calibration.settings import CalibrationSettings
from ...capture.session import read_session
from ...capture.settings import CaptureSettings
from ...core.cameras_file import camera_error, match_views
from ...core.errors import SessionError
from ...core.storage.schema import read_cameras as stored_cameras
from ...core.storage.store import Store
from .formats import read_camera_file, write_camera_file


def supply_cameras(
    root: Path,
    source: str,
    unit_m: float | None,
    capture: CaptureSettings,
    calibration: CalibrationSettings,
    fps: float | None,
) -> list[str]:
    """Write the cameras of a file in any known format to the session's cameras.toml; keep what was there beside it.

    Args:
        root: the session's folder. Its clips decide which cameras are wanted; without clips all are.
        source: as for `read_camera_file`.
        unit_m: metres in one unit of the file; None is the format's own.
        capture: what makes a session.
        calibration: the distances between cameras that are known.
        fps: frames per second, to use in place of those in the clips' headers.

    Returns:
        Lines for a person.

    Raises:
        HandpipeError: the file, or the session, is not what it should be. Nothing is changed then.
    """
    if not root.is_dir():
        raise SessionError(f"{root}: expected a session folder, but found none. Make it, or correct the path.")
    found = read_camera_file(source, unit_m)
    cameras = found.cameras
    messages = [f"{source}: {len(cameras)} cameras, format {found.format}, 1 unit is {found.unit_m:g} m"]
    if (root / "videos").is_dir():
        session = read_session(root, capture, fps)
        sizes = np.array([clip.size_px for clip in session.clips])
        spare = [name for name in cameras.names if name not in session.views]
        cameras = match_views(cameras, session.views, sizes)
        Judge(source, capture.dead_views, "Add cameras of these names to the file", calibration).check(cameras)
        if spare:
            messages.append(f"left out, because they have no clip: {', '.join(spare)}")
    elif not cameras.size_px.all():
        raise camera_error(
            source,
            "image sizes, because the session has no clips",
            "none",
            "Add the sizes to the file, or the clips to videos/.",
        )
    kept = replace_cameras(root, cameras, "import", {"from": Path(source).name, "format": found.format})
    return [*messages, *kept]


def export_cameras(root: Path, store: Store, out: Path, format: str, force: bool) -> tuple[dict[str, Any], list[str]]:
    """Write a session's cameras in another program's format.

    Returns:
        Figures for a program, and lines for a person: what the format does not hold.

    Raises:
        CalibrationError: the session has no calibration yet.
        SessionError: something stands at `out` already.
    """
    if not store.complete("cameras"):
        raise camera_error(
            root, "a calibrated session", "no cameras in its store", f"Run `handpipe calibrate {root}` first."
        )
    if out.exists() and not force and not (out.is_dir() and not any(out.iterdir())):
        raise SessionError(
            f"{out}: expected no such file or folder, but found one. Choose another path, or replace it with --force."
        )
    cameras = stored_cameras(store)
    lost = write_camera_file(out, cameras, format)
    views = int(cameras.calibrated.sum())
    return {"out": str(out), "format": format, "views": views, "lost": lost}, lost
