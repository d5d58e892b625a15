"""`handpipe export`: motion and cameras to other tools' formats, one command for each format of the registry."""

# Ring 2: reads and writes.

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from tyro.conf import Positional, arg

from ..exchange.cameras.formats import WRITTEN
from ..exchange.export_format import ExportFormat, export_formats
from ..screen import Screen
from ..settings import Config
from . import Configured, Group, OnResults


@dataclass(frozen=True)
class ExportSequences(OnResults):
    """What every format of motion and datasets takes."""

    common = ("hand_model",)
    sections = ("hand_model",)

    into: ClassVar[ExportFormat]
    images = True
    sessions: Annotated[Positional[tuple[str, ...]], arg(metavar="SESSION...")]
    """Session folders, Zarr stores with a `mano` group, or names of sessions in pipeline.yaml."""
    out: Annotated[Path, arg(metavar="OUT")]
    """A new folder, for one file or folder per sequence; for one sequence also a file name with the format's suffix."""
    force: bool = False
    """Replace an earlier export."""

    def execute(self, config: Config, screen: Screen) -> dict[str, Any]:
        from ..exchange.exporting import export
        from ..pipeline import session_folder

        # A URL is no path.
        names = [str(session_folder(config, name)) if name in config.sessions else name for name in self.sessions]
        self.check_usable(names)
        figures = export(self.into, names, self.out, config.hand_model, screen, force=self.force, images=self.images)
        for sentence in figures["lost"]:
            screen.say(f"not in {self.into.name}: {sentence}")
        screen.say(f"{figures['out']}: sequences: {len(figures['sequences'])}")
        return figures


@dataclass(frozen=True)
class ExportWithImages(ExportSequences):
    """What formats take that have images."""

    images: bool = True
    """Write the images of the session's clips."""


def _command(into: ExportFormat) -> type[ExportSequences]:
    """The command of a format: its help is the format's title."""
    base = ExportWithImages if into.images else ExportSequences
    command = type(f"Export_{into.name}", (base,), {"__doc__": f"{into.title}.", "into": into})
    assert issubclass(command, ExportSequences)
    return command


if TYPE_CHECKING:
    CameraFormatName = str
else:
    CameraFormatName = Literal[WRITTEN]


@dataclass(frozen=True)
class ExportCameras(Configured):
    """A session's cameras, for OpenCV, COLMAP and other tools."""

    session: Positional[str]
    """A session folder, or the name of a session in pipeline.yaml."""
    out: Annotated[Positional[Path], arg(metavar="OUT")]
    """The file to write; for COLMAP the folder. OpenCV's is XML if the name ends in .xml, else YAML."""
    format: CameraFormatName = "aniposelib"
    """The format to write; docs/cameras.md lists their conventions."""
    store: str | None = None
    """Where the results are: a folder or an fsspec URL; by default session.zarr in the session's folder."""
    force: bool = False
    """Replace what is there."""

    def execute(self, config: Config, screen: Screen) -> dict[str, Any]:
        from ..core.storage.store import Store
        from ..exchange.cameras.camera_import import export_cameras
        from ..pipeline import session_folder

        root = session_folder(config, self.session)
        store = Store((self.store or str(root / "session.zarr")).rstrip("/"))
        figures, lost = export_cameras(root, store, self.out, self.format, self.force)
        for sentence in lost:
            screen.say(f"{self.format}: {sentence}")
        screen.say(f"{self.out}: {figures['views']} cameras")
        return figures


EXPORT = Group(
    "Motion or cameras to other tools' formats. Each command says what its format cannot hold.",
    {**{name: _command(each) for name, each in export_formats().items()}, "cameras": ExportCameras},
)
