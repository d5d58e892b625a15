"""What accompanies a recording: small pictures for the page, and guidance while the board is filmed."""

# Ring 2: reads and writes.

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy import ndarray

from ..calibration.board import detect_board, is_usable, num_corners
from ..calibration.guidance.guide import Guidance, adds_something, guidance
from ..calibration.settings import CalibrationSettings
from ..capture.recording.channel import Status
from ..capture.recording.live.helper import Helper, Look
from ..capture.recording.live.page import Page
from ..capture.recording.live.pictures import Pictures, gray_or_bgr
from ..capture.recording.recorder import Recording
from ..core.settings import Board
from ..settings import Config
from .recording_screen import LiveTable

PICTURES_S, GUIDANCE_S = 0.4, 0.4
"""Least time between two sets of pictures, and between two looks for the board, seconds."""


class Guide:
    """Looks for the board in images of one moment, and says what is missing. Keeps frames that add something."""

    def __init__(
        self, board: Board, pixels: Mapping[str, str], sizes_px: ndarray, options: CalibrationSettings
    ) -> None:
        """Args: `pixels` is the layout of each view's images, `sizes_px` (view, 2) their sizes."""
        self._board, self._pixels, self._sizes_px, self._options = board, dict(pixels), sizes_px, options
        self._kept = np.full((len(pixels), 0, num_corners(board), 2), np.nan)
        self._last: dict[str, Any] = {}

    def __call__(self, images: Mapping[str, ndarray]) -> dict[str, Any]:
        """Guidance for JSON: see `told`; `adds` says that these images added something."""
        corners = np.full((len(self._pixels), *self._kept.shape[2:]), np.nan)
        for view, (name, pixels) in enumerate(self._pixels.items()):
            if name in images:
                corners[view] = detect_board(self._board, np.ascontiguousarray(gray_or_bgr(images[name], pixels)))
        usable = is_usable(self._board, corners)
        room = self._kept.shape[1] < self._options.max_frames
        adds = room and adds_something(self._board, self._kept, corners, self._sizes_px)
        if adds or not self._last:
            if adds:
                self._kept = np.concatenate([self._kept, corners[:, None]], axis=1)
            names = list(self._pixels)
            self._last = told(guidance(self._board, self._kept, names, self._sizes_px, self._options), names)
        seen = [name for name, each in zip(self._pixels, usable, strict=True) if each]
        return self._last | {"adds": adds, "seen": seen}


def told(found: Guidance, names: Sequence[str]) -> dict[str, Any]:
    """Guidance for the screen and the page."""
    known = f"{int(found.calibrated.sum())} of {len(names)} cameras calibrated"
    if found.calibrated.any():
        known += f", positions known to {1e3 * float(np.nanmax(found.center_sigma_m)):.1f} mm or better"
    if np.isfinite(found.held_out_px):
        known += f", held-out corners {found.held_out_px:.2f} px, {found.held_out_mm:.2f} mm"
    pairs = np.argwhere(np.triu(found.shared, 1) > 0).tolist()
    return {
        "names": list(names),
        "text": found.advice.text,
        "next": [names[view] for view in found.advice.views],
        "facts": f"{found.frames} frames of the board; {known}.",
        "problems": list(found.problems),
        "passes": found.passes,
        "enough": found.enough,
        "calibrated": found.calibrated.tolist(),
        "covered": {name: cells.ravel().tolist() for name, cells in zip(names, found.covered, strict=True)},
        "coverage": {name: float(cells.mean()) for name, cells in zip(names, found.covered, strict=True)},
        "shared": [[a, b, int(found.shared[a, b])] for a, b in pairs],
    }


def make_guide(board: Board, pixels: Mapping[str, str], sizes_px: ndarray, options: CalibrationSettings) -> Look:
    """In the process of a helper."""
    return Guide(board, pixels, sizes_px, options)


def make_pictures(pixels: Mapping[str, str]) -> Look:
    """In the process of a helper."""
    return Pictures(pixels)


class Watching:
    """Called with the state of all cameras: hands it to the terminal and to the page."""

    def __init__(self, table: LiveTable, page: Page | None, recording: Recording) -> None:
        self._table, self._page, self.recording = table, page, recording
        self._sizes = {name: list(each.size_px) for name, each in recording.opened.formats.items()}
        self._began = time.monotonic()

    def __call__(self, cameras: Sequence[Status], free: float) -> None:
        self._table(cameras, free)
        if self._page is not None:
            seconds = time.monotonic() - self._began
            written = sum(each.bytes for each in cameras)
            self._page.update(
                title=self._table.title,
                seconds=seconds,
                free=free,
                left_s=free * seconds / written if written and seconds > 3 else None,
                cameras=[asdict(each) | {"size": self._sizes[each.name]} for each in cameras],
            )

    def guided(self, found: dict[str, Any]) -> None:
        """Guidance has come."""
        self._table.guided(found)
        if self._page is not None:
            self._page.update(guidance=found)

    def pictures(self, found: dict[str, Any]) -> None:
        """Pictures have come."""
        if self._page is not None:
            self._page.update(pictures=(self._page.state.get("pictures") or {}) | found)


@contextmanager
def watching(recording: Recording, table: LiveTable, page: Page | None, config: Config | None) -> Iterator[Watching]:
    """The screen, the page where there is one, and guidance with the settings where there are any."""
    formats = recording.opened.formats
    pixels = {name: each.pixels for name, each in formats.items()}
    with ExitStack() as stack:
        stack.enter_context(table)
        watch = Watching(table, page, recording)
        if page is not None:
            stack.enter_context(page)
            table.screen.say(f"page: {page.url}")
            stack.enter_context(Helper(recording, make_pictures, (pixels,), watch.pictures, PICTURES_S))
        if config is not None:
            sizes_px = np.array([each.size_px for each in formats.values()])
            arguments = (config.board, pixels, sizes_px, config.calibration)
            stack.enter_context(Helper(recording, make_guide, arguments, watch.guided, GUIDANCE_S))
        yield watch
