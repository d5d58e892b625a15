"""`handpipe export`: motion and cameras to other tools' formats, one command for each; each says what it loses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import tyro
from tyro.conf import Positional, arg

from ..core.store import Store
from ..exchange.cameras.formats import WRITTEN
from ..pipeline import Config, session_folder
from ..screen import Screen
from . import AsJson, Command, ConfigFile, Debug, Group, HandModelFolder


@dataclass(frozen=True)
class _Motion(Command):
    """What every format of motion takes."""

    format: ClassVar[str]
    images = True
    sessions: Annotated[Positional[tuple[str, ...]], arg(metavar="SESSION...")]
    """Session folders, Zarr stores with a `mano` group, or names of sessions in pipeline.yaml."""
    out: Annotated[Path, arg(metavar="OUT")]
    """A folder that is made, one file for each sequence; or a file with the format's suffix, for one sequence."""
    hand_model: HandModelFolder = None
    config: ConfigFile = None
    force: bool = False
    """Replace an earlier export."""
    json: AsJson = False
    debug: Debug = False

    @classmethod
    def default(cls, config: Config) -> Self:
        return cls(tyro.MISSING, tyro.MISSING, hand_model=config.hand_model)

    def execute(self, config: Config, screen: Screen) -> dict[str, Any]:
        from ..exchange.exporting import export
        from ..exchange.registry import EXPORTERS, KEYPOINTS_DO

        # A URL is no path.
        names = [str(session_folder(config, name)) if name in config.sessions else name for name in self.sessions]
        figures = export(
            self.format,
            EXPORTERS[self.format],
            names,
            self.out,
            self.hand_model,
            screen,
            force=self.force,
            fitted=self.format not in KEYPOINTS_DO,
            images=self.images,
        )
        for sentence in figures["lost"]:
            screen.say(f"not in {self.format}: {sentence}")
        screen.say(f"{figures['out']}: sequences: {len(figures['sequences'])}")
        return figures


@dataclass(frozen=True)
class _MotionWithImages(_Motion):
    """What formats take that have images."""

    images: bool = True
    """Write the images of the session's clips."""


class ExportMano(_Motion):
    """MANO parameters in npz, for training and research code."""

    format = "mano"


class ExportGltf(_Motion):
    """Skinned, animated meshes, for viewers, games and Blender."""

    format = "gltf"


class ExportBvh(_Motion):
    """Skeletons, for animation programs."""

    format = "bvh"


class ExportTrc(_Motion):
    """Markers, for OpenSim."""

    format = "trc"


class ExportCsv(_Motion):
    """Joints, for spreadsheets and statistics."""

    format = "csv"


class ExportKeypoints3d(_Motion):
    """Keypoints with standard errors in npz, for other fitters."""

    format = "keypoints3d"


class ExportInterHand26M(_MotionWithImages):
    """InterHand2.6M's annotation files and image tree."""

    format = "interhand26m"


class ExportCoco(_MotionWithImages):
    """COCO-WholeBody hands in every view's images, and cameras."""

    format = "coco"


class ExportHub(_Motion):
    """A dataset folder for Hugging Face."""

    format = "hub"


if TYPE_CHECKING:
    CameraFormatName = str
else:
    CameraFormatName = Literal[WRITTEN]


@dataclass(frozen=True)
class ExportCameras(Command):
    """A session's cameras, for OpenCV, COLMAP and other tools."""

    session: Positional[str]
    """A session folder, or the name of a session in pipeline.yaml."""
    out: Annotated[Positional[Path], arg(metavar="OUT")]
    """The file to write; for COLMAP the folder. OpenCV's is XML if the name ends in .xml, else YAML."""
    format: CameraFormatName = "aniposelib"
    """The format to write; docs/cameras.md lists their conventions."""
    config: ConfigFile = None
    store: str | None = None
    """Where the results are: a folder or an fsspec URL; by default session.zarr in the session's folder."""
    force: bool = False
    """Replace what is there."""
    json: AsJson = False
    debug: Debug = False

    def execute(self, config: Config, screen: Screen) -> dict[str, Any]:
        from ..exchange.cameras.camera_import import export_cameras

        root = session_folder(config, self.session)
        store = Store((self.store or str(root / "session.zarr")).rstrip("/"))
        figures, lost = export_cameras(root, store, self.out, self.format, self.force)
        for sentence in lost:
            screen.say(f"{self.format}: {sentence}")
        screen.say(f"{self.out}: {figures['views']} cameras")
        return figures


EXPORT = Group(
    "Motion or cameras to other tools' formats; says what each of them loses.",
    {
        "mano": ExportMano,
        "gltf": ExportGltf,
        "bvh": ExportBvh,
        "trc": ExportTrc,
        "csv": ExportCsv,
        "keypoints3d": ExportKeypoints3d,
        "interhand26m": ExportInterHand26M,
        "coco": ExportCoco,
        "hub": ExportHub,
        "cameras": ExportCameras,
    },
)
