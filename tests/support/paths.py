"""Where the repository stands, and the optional recordings beside it."""

from __future__ import annotations

from pathlib import Path

SUPPORT = Path(__file__).resolve().parent
"""The modules that tests share, and that child processes import."""
ROOT = SUPPORT.parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"
WEBCAMS = SHARED_DATA / "caliscope_charuco_4cam_hands"
"""Four webcams, a board and two hands (caliscope's test recording)."""
