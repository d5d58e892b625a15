"""What a dataset format says of itself."""

# Ring 2: reads and writes.

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..export_format import ExportFormat
from ..recording import Recording

if TYPE_CHECKING:
    from ...core.engine import Progress


@dataclass(frozen=True, kw_only=True)
class DatasetFormat(ExportFormat):
    """A folder with any number of sequences. `write` in `exchange/datasets/NAME/writer.py` writes it."""

    needs_mano: bool = False

    def export(self, recordings: Sequence[Recording], out: Path, progress: Progress) -> list[str]:
        # Loaded only now: to list the formats must not load pyarrow or OpenCV.
        writer = importlib.import_module(f"{__package__}.{self.name}.writer")
        return writer.write(recordings, out, progress)
