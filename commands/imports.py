"""`handpipe import`: hand models, motion, keypoints and cameras from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import tyro
from tyro.conf import Positional, arg

from ..core.store import Store
from ..exchange.datasets.coco.importer import import_coco
from ..exchange.importing import data_folder, import_bvh, import_keypoints, import_mano
from ..exchange.keypoints2d.session import Reading, import_keypoints2d
from ..exchange.motion.bvh.keypoints import Mirror
from ..exchange.motion.mano_import import import_mano_motion
from ..pipeline import Config, session_folder
from ..screen import Screen
from . import AsJson, Command, ConfigFile, Debug, Group


@dataclass(frozen=True)
class ImportMano(Command):
    """The official hand models to npz: no chumpy, and nothing pickled is run."""

    one: Annotated[Positional[Path], arg(metavar="MANO_RIGHT.pkl")]
    """An official file."""
    other: Annotated[Positional[Path | None], arg(metavar="MANO_LEFT.pkl")] = None
    """The other hand's; the order does not matter."""
    out: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Where MANO_LEFT.npz and MANO_RIGHT.npz go; by default ~/.local/share/handpipe/mano."""
    json: AsJson = False
    debug: Debug = False

    def execute(self, config: Config, screen: Screen) -> dict[str, Any]:
        files = [path for path in (self.one, self.other) if path is not None]
        figures, messages = import_mano(files, self.out or data_folder() / "mano")
        return _told(figures, messages, screen)


@dataclass(frozen=True)
class ImportMotion(Command):
    """MANO motion in npz, as `handpipe export mano` writes it, to a session that is already fitted."""

    file: Annotated[Positional[Path], arg(metavar="FILE.npz")]
    """Per hand: betas, global_orient, hand_pose, transl; docs/importing.md says how they are called."""
    out: Annotated[Positional[Path], arg(metavar="OUT")]
    """The session's folder; made if it is not there."""
    fps: Annotated[float | None, arg(metavar="FPS")] = None
    """Frames per second, where the file does not say."""
    hand_model: str | None = None
    """Folder with MANO_LEFT.npz and MANO_RIGHT.npz that the motion is for; None is the procedural hand."""
    config: ConfigFile = None
    json: AsJson = False
    debug: Debug = False

    @classmethod
    def default(cls, config: Config) -> Self:
        return cls(tyro.MISSING, tyro.MISSING, hand_model=config.hand_model)

    def execute(self, config: Config, screen: Screen) -> dict[str, Any]:
        figures, messages = import_mano_motion(self.file, self.out, self.fps, self.hand_model)
        return _told(figures, messages, screen)


@dataclass(frozen=True)
class ImportBvh(Command):
    """Two-hand motion in BVH to a session of keypoints, for `handpipe fit`."""

    left: Annotated[Positional[Path], arg(metavar="LEFT")]
    """The left hand's motion."""
    right: Annotated[Positional[Path], arg(metavar="RIGHT")]
    """The right hand's; the same file again if it has both."""
    out: Annotated[Positional[Path], arg(metavar="OUT")]
    """The session's folder; made if it is not there."""
    fps: Annotated[float | None, arg(metavar="FPS")] = None
    """Keep only so many frames per second; by default all."""
    unit_m: Annotated[float | None, arg(metavar="METRES")] = None
    """Metres in one unit of the files; by default found from the length of the bones."""
    mirror: Mirror = "auto"
    """Negate x; `auto` does where both hands have the other's shape: left-handed coordinates, as Unity's."""
    sigma_m: float = 0.001
    """Standard error of the joints, metres."""
    json: AsJson = False
    debug: Debug = False

    def execute(self, config: Config, screen: Screen) -> dict[str, Any]:
        files = (self.left, self.right)
        figures, messages = import_bvh(files, self.out, self.fps, self.unit_m, self.mirror, self.sigma_m)
        return _told(figures, messages, screen)


@dataclass(frozen=True)
class ImportKeypoints(Command):
    """3D keypoints in npz, TRC, CSV or glTF to a session, for `handpipe fit`."""

    file: Annotated[Positional[Path], arg(metavar="FILE")]
    """An npz with `points` (frame, hand, joint, 3), or `left` and `right`; or a .trc, .csv or .glb file."""
    out: Annotated[Positional[Path], arg(metavar="OUT")]
    """The session's folder; made if it is not there."""
    fps: Annotated[float | None, arg(metavar="FPS")] = None
    """Frames per second, where the file does not say."""
    unit_m: Annotated[float | None, arg(metavar="METRES")] = None
    """Metres in one unit of the file; by default what the file says, or 1."""
    swap_hands: bool = False
    """Left is right and right is left."""
    mirror: bool = False
    """Negate x: the coordinates are left-handed."""
    sigma_m: float = 0.001
    """Standard error of the joints where the file has none, metres."""
    json: AsJson = False
    debug: Debug = False

    def execute(self, config: Config, screen: Screen) -> dict[str, Any]:
        from ..exchange.registry import KEYPOINT_READERS

        read = KEYPOINT_READERS.get(self.file.suffix.lower(), KEYPOINT_READERS[".npz"])
        figures, messages = import_keypoints(
            self.file, self.out, self.fps, self.unit_m, self.swap_hands, self.mirror, self.sigma_m, read
        )
        return _told(figures, messages, screen)


@dataclass(frozen=True)
class ImportKeypoints2d(Command):
    """Another detector's 2D hands to the detections of a session: OpenPose, MMPose, COCO-WholeBody or npz."""

    session: Positional[str]
    """A session folder, with clips or with only cameras.toml, or the name of a session in pipeline.yaml."""
    paths: Annotated[Positional[tuple[Path, ...]], arg(metavar="PATH...")]
    """Files, or folders of files. A folder or the beginning of a file's name says the view."""
    reading: Annotated[Reading, arg(name="")]
    fps: Annotated[float | None, arg(metavar="FPS")] = None
    """Frames per second, where there are no clips."""
    config: ConfigFile = None
    store: str | None = None
    """Where results go: a folder or an fsspec URL; by default session.zarr in the session's folder."""
    json: AsJson = False
    debug: Debug = False

    def config_sources(self) -> tuple[Path | None, str | None]:
        return self.config, self.session

    def execute(self, config: Config, screen: Screen) -> dict[str, Any]:
        root = session_folder(config, self.session)
        store = Store((self.store or str(root / "session.zarr")).rstrip("/"))
        fps = self.fps or config.fps
        figures, messages = import_keypoints2d(root, self.paths, self.reading, config.capture, fps, store)
        return _told(figures, messages, screen)


@dataclass(frozen=True)
class ImportInterHand26M(Command):
    """InterHand2.6M's annotations to sessions of joints, cameras and MANO."""

    folder: Annotated[Positional[Path], arg(metavar="FOLDER")]
    """With *_data.json, *_camera.json, *_joint_3d.json and, if there is one, *_MANO_NeuralAnnot.json."""
    out: Annotated[Positional[Path], arg(metavar="OUT")]
    """The sessions' folder: OUT/Capture*/<sequence>."""
    only: Annotated[tuple[str, ...], arg(metavar="PATTERN")] = ()
    """Sequences to take, such as 'Capture3/*touch*'; by default all."""
    fps: Annotated[float, arg(metavar="FPS")] = 30.0
    """Of the dataset: 30 or 5, by the release."""
    unit_m: float = 0.001
    """Metres in one unit of the joints and of the cameras' positions."""
    sigma_m: float = 0.001
    """Standard error of the joints, metres."""
    images: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """The images' folder, with Capture*: make clips of them, for `handpipe run`; the labels become its truth."""
    hand_model: str | None = None
    """Folder with MANO_LEFT.npz and MANO_RIGHT.npz, which NeuralAnnot is for; None is the procedural hand."""
    config: ConfigFile = None
    json: AsJson = False
    debug: Debug = False

    @classmethod
    def default(cls, config: Config) -> Self:
        return cls(tyro.MISSING, tyro.MISSING, hand_model=config.hand_model)

    def execute(self, config: Config, screen: Screen) -> dict[str, Any]:
        from ..exchange.datasets.interhand26m.importer import import_interhand26m

        figures, messages = import_interhand26m(
            self.folder,
            self.out,
            self.only,
            self.fps,
            self.unit_m,
            self.sigma_m,
            self.hand_model,
            screen,
            self.images,
        )
        return _told(figures, messages, screen)


@dataclass(frozen=True)
class ImportCoco(Command):
    """COCO-WholeBody hands with cameras to a session of detections, for `handpipe run`."""

    folder: Annotated[Positional[Path], arg(metavar="FOLDER")]
    """With annotations.json and cameras.toml, as `handpipe export coco` writes it."""
    out: Annotated[Positional[Path], arg(metavar="OUT")]
    """The session's folder; made if it is not there."""
    fps: Annotated[float | None, arg(metavar="FPS")] = None
    """Frames per second, where the file does not say."""
    json: AsJson = False
    debug: Debug = False

    def execute(self, config: Config, screen: Screen) -> dict[str, Any]:
        figures, messages = import_coco(self.folder, self.out, self.fps)
        return _told(figures, messages, screen)


@dataclass(frozen=True)
class ImportHub(Command):
    """What `handpipe export hub` wrote, back to sessions."""

    folder: Annotated[Positional[Path], arg(metavar="FOLDER")]
    """With sequences.parquet."""
    out: Annotated[Positional[Path], arg(metavar="OUT")]
    """The sessions' folder: OUT/<sequence>."""
    only: Annotated[tuple[str, ...], arg(metavar="PATTERN")] = ()
    """Sequences to take, such as 'touch*'; by default all."""
    json: AsJson = False
    debug: Debug = False

    def execute(self, config: Config, screen: Screen) -> dict[str, Any]:
        from ..exchange.datasets.hub.importer import import_hub

        figures, messages = import_hub(self.folder, self.out, self.only, screen)
        return _told(figures, messages, screen)


def _told(figures: dict[str, Any], messages: Sequence[str], screen: Screen) -> dict[str, Any]:
    for line in messages:
        screen.say(line)
    return figures


IMPORT = Group(
    "Hand models, motion and keypoints from elsewhere.",
    {
        "mano": ImportMano,
        "mano-motion": ImportMotion,
        "bvh": ImportBvh,
        "keypoints": ImportKeypoints,
        "keypoints2d": ImportKeypoints2d,
        "interhand26m": ImportInterHand26M,
        "coco": ImportCoco,
        "hub": ImportHub,
    },
)
