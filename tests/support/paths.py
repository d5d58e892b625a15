"""Where the repository stands, and the optional recordings beside it."""

from __future__ import annotations

from pathlib import Path

SUPPORT = Path(__file__).resolve().parent
"""The modules that tests share, and that child processes import."""
ROOT = SUPPORT.parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"
WEBCAMS = SHARED_DATA / "caliscope_charuco_4cam_hands"
"""Four webcams, a board and two hands (caliscope's test recording)."""

ONE_PROCESS = ("--workers", "0", "--chunk-frames", "2")
"""How tests run small sessions: without a cluster, in many units."""

NOT_PRODUCT = {"tests", "benchmarks", "docs", "build", "dist"}


def product_files(root: Path = ROOT) -> list[Path]:
    """The modules of the product: no tests, nothing hidden, no virtual environment beside them."""
    tops = [path for path in sorted(root.iterdir()) if path.name not in NOT_PRODUCT and not path.name.startswith(".")]
    return [
        file for top in tops for file in (sorted(top.rglob("*.py")) if top.is_dir() else [top]) if file.suffix == ".py"
    ]
