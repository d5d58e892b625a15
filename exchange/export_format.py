"""What a format that `handpipe export` writes says of itself."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..core.errors import ExportError
from .formats import Format, formats_of
from .recording import Recording

if TYPE_CHECKING:
    from ..core.engine import Progress


@dataclass(frozen=True, kw_only=True)
class ExportFormat(Format):
    """A format of motion or of a dataset, as `handpipe export NAME` writes it."""

    needs_mano: bool = True
    """Whether a session must be fitted; else keypoints are enough."""
    images: bool = False
    """Whether the session's images are written too."""
    read_back: str = ""
    """The command that reads it, with FILE, OUT and FPS: `keypoints FILE OUT`; empty where there is none."""
    group: Literal["mano", "keypoints", "detections"] = "keypoints"
    """What comes back."""
    within: float = 0.0
    """Largest error of what comes back, metres (pixels of detections); 0 is bit for bit."""
    keeps_axes: bool = True
    """Whether the session's axes come back; else y is up."""
    keeps_gaps: bool = True
    """Whether frames without a hand come back as such."""

    @property
    def comes_back(self) -> str:
        """How exactly, for people."""
        if not self.within:
            return "bit for bit"
        pixels = self.group == "detections"
        return f"within {self.within:g} px" if pixels else f"within {1e6 * self.within:g} µm"

    def export(self, recordings: Sequence[Recording], out: Path, progress: Progress) -> list[str]:
        """Write them.

        Args:
            recordings: at least one.
            out: does not exist yet and has the final name and suffix: a folder is made there, or a file.
            progress: where to show it.

        Returns:
            What is lost, in sentences.
        """
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class FileFormat(ExportFormat):
    """One file for each sequence: a folder of them, or a file where the user named one with the suffix."""

    write: Callable[[Recording, Path], list[str]]
    """Writes one file and returns what is lost in it."""

    def export(self, recordings: Sequence[Recording], out: Path, progress: Progress) -> list[str]:
        suffix, lost = self.suffixes[0], {}
        alone = out.suffix.lower() == suffix
        if alone and len(recordings) > 1:
            raise ExportError(
                f"--out {out.name}: expected a folder for {len(recordings)} sequences, but this is the name of a "
                f"{suffix} file. Leave out the suffix."
            )
        if not alone:
            out.mkdir()
        progress.start("export", len(recordings), 0, "sequences")
        try:
            for recording in recordings:
                lost |= dict.fromkeys(self.write(recording, out if alone else out / f"{recording.name}{suffix}"))
                progress.advance(1)
        finally:
            progress.stop()
        return list(lost)


def export_formats() -> dict[str, ExportFormat]:
    """Every format that `handpipe export` writes, motion first."""
    return {**formats_of("motion", ExportFormat), **formats_of("datasets", ExportFormat)}
