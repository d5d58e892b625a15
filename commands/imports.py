"""`handpipe import`: hand models, motion, keypoints and datasets from other tools."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from ..core.flags import UNIT
from ..exchange.export_format import export_formats
from ..exchange.keypoints2d.format import keypoints2d_formats
from ..exchange.keypoints2d.reading import Reading
from ..exchange.motion.format import motion_formats
from ..hand.keypoints import Mirror
from ..screen import Screen
from ..settings import Config
from . import Command, Configured, Group, Reporting


@dataclass(frozen=True)
class ImportMano(Reporting):
    """Official MANO hand models (.pkl) to npz. Needs no chumpy; runs no code from the pickle."""

    one: Annotated[Positional[Path], arg(metavar="MANO_RIGHT.pkl")]
    """An official file."""
    other: Annotated[Positional[Path | None], arg(metavar="MANO_LEFT.pkl")] = None
    """The other hand's; the order does not matter."""
    out: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Where MANO_LEFT.npz and MANO_RIGHT.npz go; by default ~/.local/share/handpipe/mano."""

    def execute(self, config: Config, screen: Screen) -> dict[str, Any]:
        from ..exchange.importing import data_folder, import_mano

        files = [path for path in (self.one, self.other) if path is not None]
        figures, messages = import_mano(files, self.out or data_folder() / "mano")
        return _told(figures, messages, screen)


@dataclass(frozen=True)
class ImportMotion(Configured):
    """To a session that is already fitted."""

    common = ("hand_model",)
    sections = ("hand_model",)

    file: Annotated[Positional[Path], arg(metavar="FILE.npz")]
    """docs/importing.md lists the arrays."""
    out: Annotated[Positional[Path], arg(metavar="OUT")]
    """The session's folder; made if it is not there."""
    fps: Annotated[float | None, arg(metavar="FPS")] = None
    """Frames per second, in place of what the file says."""

    def execute(self, config: Config, screen: Screen) -> dict[str, Any]:
        from ..exchange.motion.mano.motion_import import import_mano_motion

        figures, messages = import_mano_motion(self.file, self.out, self.fps, config.hand_model)
        return _told(figures, messages, screen)


@dataclass(frozen=True)
class ImportBvh(Reporting):
    """To a session of keypoints, for `handpipe fit`."""

    left: Annotated[Positional[Path], arg(metavar="LEFT")]
    """The left hand's motion."""
    right: Annotated[Positional[Path], arg(metavar="RIGHT")]
    """The right hand's; the same file again if it has both hands, or only one."""
    out: Annotated[Positional[Path], arg(metavar="OUT")]
    """The session's folder; made if it is not there."""
    fps: Annotated[float | None, arg(metavar="FPS")] = None
    """Frames per second, in place of what the files say."""
    thin_to: Annotated[float | None, arg(metavar="FPS")] = None
    """Keep only this many frames per second, which must divide the recorded rate; by default all."""
    unit_m: Annotated[float | None, UNIT, arg(metavar="UNIT")] = None
    """Unit of the files: `cm`, or its length in metres; by default guessed from the length of the bones."""
    mirror: Mirror = "auto"
    """Negate x. `auto`: only if both hands look like the other hand, as in left-handed coordinates (Unity)."""
    sigma_m: float = 0.001
    """Standard error of the joints, metres."""

    def execute(self, config: Config, screen: Screen) -> dict[str, Any]:
        from ..exchange.importing import import_bvh

        files = (self.left, self.right)
        figures, messages = import_bvh(files, self.out, self.fps, self.unit_m, self.mirror, self.sigma_m, self.thin_to)
        return _told(figures, messages, screen)


@dataclass(frozen=True)
class ImportKeypoints(Reporting):
    """To a session of keypoints, for `handpipe fit`."""

    file: Annotated[Positional[Path], arg(metavar="FILE")]
    """The file; its suffix tells the format."""
    out: Annotated[Positional[Path], arg(metavar="OUT")]
    """The session's folder; made if it is not there."""
    fps: Annotated[float | None, arg(metavar="FPS")] = None
    """Frames per second, in place of what the file says."""
    unit_m: Annotated[float | None, UNIT, arg(metavar="UNIT")] = None
    """Unit of the file: `cm`, or its length in metres; by default what the file says, or 1."""
    swap_hands: bool = False
    """Exchange the left and the right hand."""
    mirror: bool = False
    """Negate x, for left-handed coordinates."""
    sigma_m: float = 0.001
    """Standard error of the joints where the file has none, metres."""

    def execute(self, config: Config, screen: Screen) -> dict[str, Any]:
        from ..exchange.importing import import_keypoints

        figures, messages = import_keypoints(
            self.file, self.out, self.fps, self.unit_m, self.swap_hands, self.mirror, self.sigma_m
        )
        return _told(figures, messages, screen)


@dataclass(frozen=True)
class ImportKeypoints2d(Configured):
    """To the detections of a session, for `handpipe run`."""

    session: Annotated[Positional[str], arg(metavar="SESSION")]
    """A session folder, with clips or with only cameras.toml, or the name of a session in pipeline.yaml."""
    paths: Annotated[Positional[tuple[Path, ...]], arg(metavar="PATH...")]
    """Files, or folders of files. The view is the name of a folder, or the start of a file's name."""
    reading: Annotated[Reading, arg(name="")]
    fps: Annotated[float | None, arg(metavar="FPS")] = None
    """Frames per second, where there are no clips."""
    store: str | None = None
    """Where the results are written: a folder or an fsspec URL; by default session.zarr in the session's folder."""

    def config_sources(self) -> tuple[Path | None, str | None]:
        return self.config, self.session

    def execute(self, config: Config, screen: Screen) -> dict[str, Any]:
        from ..core.storage.store import Store
        from ..exchange.keypoints2d.session import import_keypoints2d
        from ..pipeline import session_folder

        root = session_folder(config, self.session)
        store = Store((self.store or str(root / "session.zarr")).rstrip("/"))
        fps = self.fps or config.fps
        figures, messages = import_keypoints2d(root, self.paths, self.reading, config.capture, fps, store)
        return _told(figures, messages, screen)


@dataclass(frozen=True)
class ImportInterHand26M(Configured):
    """To a session for each sequence."""

    common = ("hand_model",)
    sections = ("hand_model",)

    folder: Annotated[Positional[Path], arg(metavar="FOLDER")]
    """With *_data.json, *_camera.json, *_joint_3d.json and, if there is one, *_MANO_NeuralAnnot.json."""
    out: Annotated[Positional[Path], arg(metavar="OUT")]
    """The sessions' folder: OUT/Capture*/<sequence>."""
    only: Annotated[tuple[str, ...], arg(metavar="PATTERN")] = ()
    """Sequences to take, such as 'Capture3/*touch*'; by default all."""
    fps: Annotated[float, arg(metavar="FPS")] = 30.0
    """Frames per second of the release: 30 or 5."""
    unit_m: Annotated[float, UNIT, arg(metavar="UNIT")] = 0.001
    """Unit of the joints and of the cameras' positions: `mm`, or its length in metres."""
    sigma_m: float = 0.001
    """Standard error of the joints, metres."""
    images: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Folder with the images (Capture*): makes clips for `handpipe run`, and the labels its ground truth."""

    def execute(self, config: Config, screen: Screen) -> dict[str, Any]:
        from ..exchange.datasets.interhand26m.importer import import_interhand26m

        figures, messages = import_interhand26m(
            self.folder,
            self.out,
            self.only,
            self.fps,
            self.unit_m,
            self.sigma_m,
            config.hand_model,
            screen,
            self.images,
        )
        return _told(figures, messages, screen)


@dataclass(frozen=True)
class ImportCoco(Reporting):
    """To a session of detections, for `handpipe run`."""

    folder: Annotated[Positional[Path], arg(metavar="FOLDER")]
    """With annotations.json and cameras.toml, as `handpipe export coco` writes it."""
    out: Annotated[Positional[Path], arg(metavar="OUT")]
    """The session's folder; made if it is not there."""
    fps: Annotated[float | None, arg(metavar="FPS")] = None
    """Frames per second, where the file does not say."""

    def execute(self, config: Config, screen: Screen) -> dict[str, Any]:
        from ..exchange.datasets.coco.importer import import_coco

        figures, messages = import_coco(self.folder, self.out, self.fps)
        return _told(figures, messages, screen)


@dataclass(frozen=True)
class ImportHub(Reporting):
    """To a session for each sequence."""

    folder: Annotated[Positional[Path], arg(metavar="FOLDER")]
    """With sequences.parquet."""
    out: Annotated[Positional[Path], arg(metavar="OUT")]
    """The sessions' folder: OUT/<sequence>."""
    only: Annotated[tuple[str, ...], arg(metavar="PATTERN")] = ()
    """Sequences to take, such as 'touch*'; by default all."""

    def execute(self, config: Config, screen: Screen) -> dict[str, Any]:
        from ..exchange.datasets.hub.importer import import_hub

        figures, messages = import_hub(self.folder, self.out, self.only, screen)
        return _told(figures, messages, screen)


def _told(figures: dict[str, Any], messages: Sequence[str], screen: Screen) -> dict[str, Any]:
    for line in messages:
        screen.say(line)
    return figures


_COMMANDS: dict[str, type[Command]] = {
    "mano": ImportMano,
    "mano-motion": ImportMotion,
    "bvh": ImportBvh,
    "keypoints": ImportKeypoints,
    "keypoints2d": ImportKeypoints2d,
    "interhand26m": ImportInterHand26M,
    "coco": ImportCoco,
    "hub": ImportHub,
}


def _from_registry(commands: dict[str, type[Command]]) -> dict[str, type[Command]]:
    """The commands, with the formats that each reads in front of its help."""
    suffixes = [suffix for each in motion_formats().values() if each.read for suffix in each.suffixes]
    what = {each.read_back.split()[0]: each.title for each in export_formats().values()}
    what["keypoints"] = f"3D keypoints ({', '.join(suffixes)})"
    what["keypoints2d"] = f"2D hands ({', '.join(each.title for each in keypoints2d_formats().values())})"
    for name, text in what.items():
        commands[name].__doc__ = f"{text}. {commands[name].__doc__}"
    return commands


IMPORT = Group("Hand models, motion, keypoints and datasets from other tools.", _from_registry(_COMMANDS))
