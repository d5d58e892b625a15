"""Before a recording: `handpipe board` prints what to film. After it: `handpipe doctor` looks for what is wrong."""

# Ring 2: reads and writes.

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from ..calibration.boards.drawing import Page
from ..core.errors import ConfigError
from ..core.quality import verdict
from ..screen import Screen
from ..settings import Config, session_folder
from . import Configured


@dataclass(frozen=True)
class PrintBoard(Configured):
    """Draw the calibration board to scale, as a PDF with rulers to check the print."""

    common = ("board",)
    sections = ("board",)
    short = ("board",)

    out: Annotated[Positional[Path], arg(metavar="OUT.pdf")]
    """The file to write, replaced if it exists."""
    session: str | None = None
    """Draw the board of this session. Default: the board of the settings."""
    page: Page = "auto"
    """Page size; `auto` is the smallest standard page on which the board fits, `fit` a page of the board's size."""

    def config_sources(self) -> tuple[Path | None, str | None]:
        return self.config, self.session

    def execute(self, config: Config, screen: Screen) -> dict[str, Any]:
        from ..calibration.boards.drawing import describe, write_pdf

        if self.out.suffix.lower() != ".pdf" or self.out.is_dir():
            raise ConfigError(
                f"{self.out}: expected the name of a PDF file to write, but found another. End it in .pdf."
            )
        sheet = write_pdf(config.board, self.out, self.page)
        screen.say(
            f"{self.out}: {describe(config.board)}, on {sheet.name} ({sheet.width_mm:.0f} x {sheet.height_mm:.0f} mm)"
        )
        screen.say(
            "Print it at 100 %, measure the lines of 100 mm and a square, and glue it to a flat plate. "
            "Put the measured sizes into session.yaml."
        )
        return {"board": asdict(config.board), "page": sheet.name, "page_mm": [sheet.width_mm, sheet.height_mm]}


@dataclass(frozen=True)
class Doctor(Configured):
    """Examine a session before anything is computed: clips, times, board, rig, hands, and this machine.

    Samples of the clips are looked at, which takes seconds. Nothing is written. Exit status 3 if there is an error.
    """

    common = ("fps", "hand_model", "detection.detector")
    sections = ("board", "hand_model", "fps", "capture", "calibration", "detection", "second_look", "engine")
    short = ("engine",)

    session: Annotated[Positional[str], arg(metavar="SESSION")]
    """A session folder, or the name of a session in pipeline.yaml."""
    store: str | None = None
    """Where results are or will be: a folder or an fsspec URL. Default: session.zarr in the session folder."""

    def config_sources(self) -> tuple[Path | None, str | None]:
        return self.config, self.session or None

    def execute(self, config: Config, screen: Screen) -> dict[str, Any]:
        from ..core.storage.store import Store
        from ..doctor.examine import Examination

        start = time.monotonic()
        root = session_folder(config, self.session)
        store = Store((self.store or str(root / "session.zarr")).rstrip("/"))
        checks = Examination(root, config, store, screen).checks()
        concluded = verdict(checks)
        screen.findings(self.session, checks)
        if concluded != "not usable":
            screen.say(f"next: `handpipe run {self.session}`")
        return {
            "session": str(root),
            "seconds": round(time.monotonic() - start, 1),
            "quality": {"verdict": concluded, "checks": [asdict(check) for check in checks]},
        }
