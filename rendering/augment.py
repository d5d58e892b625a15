"""`handpipe augment`: motion rendered as training data, in random scenes, from several cameras, with labels.

Images are written to folders, such as `images/s0000/v0/000000.jpg`; `labels.zarr` contains the labels. A unit of its
group `labels` is marked complete after its images are written.
"""

# Ring 2: reads and writes.

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy import ndarray

from ..core.engine import Engine, Plan, Unit
from ..core.errors import SessionError, disk_errors
from ..core.geometry import rotation_from_axis_angle
from ..core.hands import HANDS, NUM_POSE
from ..core.storage.schema import AUGMENTED, Columns, group_spec
from ..core.storage.store import Store
from ..hand.loading import hand_models
from .arm import arm_at_rest, arm_skin
from .augment_pictures import backdrop, light_of, take_picture, things_at
from .augment_shot import PER_SEQUENCE, Shot, ShotSource, hands_shown, read_shot
from .render import FAR_M, Light, LitHands, light_hands
from .scenes import ARM, Film, visibility
from .settings import AugmentSettings
from .skin import HandSkin, hand_skin

CODE = 2
"""Version of this code. Increase it when the same settings give different images."""

DEPTH_UNIT_M = 1e-4
"""Unit of the depth images."""

FINE_PX = 400
"""Images of at least this height use a finer mesh, whose faces are about as large as pixels."""

PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1]
"""A smaller file would take several times as long."""

KINDS = {"images": "jpg", "masks": "png", "depth": "png"}


def is_checkpoint(source: str) -> bool:
    """Whether a source is a checkpoint, which may be damaged, and not existing motion.

    Raises:
        SessionError: there is no such folder.
    """
    if "://" in source:
        return False
    path = Path(source).expanduser()
    if not path.is_dir():
        raise SessionError(
            f"{source}: expected a checkpoint, a session or a store of motion, but there is no such folder. "
            "Check the path, or train a model with `handpipe train-diffusion`."
        )
    return not any((path / name).exists() for name in ("session.zarr", "zarr.json", "videos"))


def augment(
    motion: Store, out: Path, options: AugmentSettings, hand_model: str | None, engine: Engine, *, force: bool = False
) -> dict[str, Any]:
    """Render motion as training data; complete units are skipped.

    Args:
        motion: a store with a finished `mano` group, of a session or with samples.
        out: the folder with the result.
        options: settings of augmentation.
        hand_model: folder with MANO_LEFT.npz and MANO_RIGHT.npz; None is the procedural hand.
        engine: where to render.
        force: render existing images again.

    Returns:
        Figures of the run.

    Raises:
        SessionError: the motion has no clip of this length, is for other hands, or the folder holds other files.
    """
    source = ShotSource(motion, *_clips(motion, options, hand_model), hand_model)
    labels = Store(str(out / "labels.zarr"))
    if not labels.exists() and any((out / kind).exists() for kind in KINDS):
        raise SessionError(
            f"{out}: expected an empty folder, or one that `handpipe augment` wrote, but found other images. "
            "Choose another folder."
        )
    with disk_errors(str(out)):
        out.mkdir(parents=True, exist_ok=True)
    labels.open()
    fingerprint = _fingerprint(source, options)
    with labels.lock(engine.progress.say):
        labels.clean()
        plans = [_scene_plan(name, source, options, fingerprint) for name in PER_SEQUENCE]
        if not force and not _whole(out, labels):
            engine.progress.say(f"{out}: rendered again, because some images were deleted")
            force = True
        for plan in plans:
            engine.execute(labels, lambda _, plan=plan: plan, force=force)
        stored = labels.fingerprint("labels")
        if stored is not None and (force or stored != fingerprint):
            for kind in KINDS:
                shutil.rmtree(out / kind, ignore_errors=True)
            labels.remove("labels")
        computed = engine.execute(labels, lambda chunk: _pictures_plan(out, source, options, fingerprint, chunk))
        labels.consolidate()
    return {
        "out": str(out),
        "sequences": options.sequences,
        "views": options.views,
        "images": options.sequences * options.views * options.frames,
        "computed": computed,
    }


def _clips(motion: Store, options: AugmentSettings, hand_model: str | None) -> tuple[bool, tuple[tuple[int, int], ...]]:
    """Whether the motion has samples, and where each sequence begins: all clips before any comes twice."""
    wanted = [model.model_id for model in hand_models(hand_model)]
    found = motion.attrs("mano").get("hand_model")
    if found != wanted:
        raise SessionError(
            f"{motion.url}: expected motion of the hand model in use ({', '.join(wanted)}), but it is for {found}. "
            "Give the folder with its model with --hand-model."
        )
    valid = hands_shown(motion)
    sampled = valid.ndim == 3
    valid = np.asarray((valid if sampled else valid[None]).all(axis=-1))
    length = options.motion_frames
    starts = [
        (sample, start)
        for sample, frames in enumerate(valid)
        for start in range(0, len(frames) - length + 1, length)
        if frames[start : start + length].all()
    ]
    if not starts:
        raise SessionError(
            f"{motion.url}: expected {length} consecutive frames in which both hands are valid, but there are none. "
            "Use a smaller --frames or --every, or another source."
        )
    order = np.random.default_rng([options.seed, len(starts)]).permutation(len(starts))
    return sampled, tuple(starts[order[k % len(starts)]] for k in range(options.sequences))


def _whole(out: Path, labels: Store) -> bool:
    """Whether every image of the complete units exists."""
    if not labels.fingerprint("labels"):
        return True
    views, frames = labels.read("labels", "visibility").shape[1:3]
    chunk = int(labels.attrs("labels")["chunk_frames"])
    for sequence, part in np.argwhere(labels.done("labels")):
        for frame in range(part * chunk, min((part + 1) * chunk, frames)):
            for view in range(views):
                if not all(picture_path(out, kind, sequence, view, frame).is_file() for kind in KINDS):
                    return False
    return True


def picture_path(out: Path, kind: str, sequence: int, view: int, frame: int) -> Path:
    """Path of an image; `kind` is `images`, `masks` or `depth`."""
    return out / kind / f"s{sequence:04d}" / f"v{view}" / f"{frame:06d}.{KINDS[kind]}"


def _fingerprint(source: ShotSource, options: AugmentSettings) -> dict[str, Any]:
    hands = [model.model_id for model in hand_models(source.hand_model)]
    return {
        "settings": asdict(options),
        "inputs": {"motion": source.store.digest_of("mano"), "hand_model": hands},
        "code": CODE,
    }


# ---- plans -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Described:
    """One of the groups that have a unit for each sequence."""

    name: str
    source: ShotSource
    options: AugmentSettings

    @property
    def units(self) -> Sequence[Unit]:
        return [(number,) for number in range(self.options.sequences)]

    def run(self, todo: Sequence[Unit]) -> Iterator[tuple[Unit, Mapping[str, ndarray]]]:
        for unit in todo:
            yield unit, PER_SEQUENCE[self.name][1](self.source, self.options, unit[0])


def _group(
    name: str,
    columns: Columns,
    source: ShotSource,
    options: AugmentSettings,
    fingerprint: Mapping[str, Any],
    chunk: int,
) -> Any:
    attrs = source.store.attrs("mano")
    views = np.array([f"v{view}" for view in range(options.views)], object)
    return group_spec(
        name,
        columns,
        sizes={"sequence": options.sequences, "view": options.views, "frame": options.frames},
        unit={"sequence": 1, "frame": chunk} if chunk else {"sequence": 1},
        fingerprint=fingerprint,
        attrs={
            "fps": attrs["fps"] / options.every,
            "hand_model": attrs["hand_model"],
            "depth_unit_m": DEPTH_UNIT_M,
        },
        coords={"view": (("view",), views)} if any("view" in axes.split() for axes, *_ in columns.values()) else {},
    )


def _scene_plan(name: str, source: ShotSource, options: AugmentSettings, fingerprint: Mapping[str, Any]) -> Plan:
    group = _group(name, PER_SEQUENCE[name][0], source, options, fingerprint, 0)
    return Plan(
        group,
        [Described(name, source, options)],
        {(number,): 1 for number in range(options.sequences)},
        "sequences",
    )


@dataclass(frozen=True)
class Rendered:
    """All views of one sequence."""

    out: Path
    source: ShotSource
    options: AugmentSettings
    number: int
    chunk: int

    @property
    def units(self) -> Sequence[Unit]:
        return [(self.number, part) for part in range(-(-self.options.frames // self.chunk))]

    def run(self, todo: Sequence[Unit]) -> Iterator[tuple[Unit, Mapping[str, ndarray]]]:
        one = read_shot(self.source, self.options, self.number)
        size, ambient = (self.options.width, self.options.height), one.scene.lamps.ambient_bgr
        rooms = [backdrop(self._rng(view), size, ambient) for view in range(self.options.views)]
        skins = [skin.toned(one.scene.tone_bgr) for skin in _skins(self.source.hand_model, 1 + (size[1] >= FINE_PX))]
        for view in range(self.options.views):
            for kind in KINDS:
                with disk_errors(str(self.out)):
                    picture_path(self.out, kind, self.number, view, 0).parent.mkdir(parents=True, exist_ok=True)
        for unit in todo:
            frames = range(unit[1] * self.chunk, min((unit[1] + 1) * self.chunk, self.options.frames))
            yield unit, self._unit(one, rooms, skins, frames)

    def _rng(self, *what: int) -> np.random.Generator:
        """The seed of a view's background, or of an image."""
        return np.random.default_rng([self.options.seed, self.number, *what])

    def _unit(
        self, one: Shot, rooms: Sequence[ndarray], skins: Sequence[HandSkin], frames: range
    ) -> dict[str, ndarray]:
        views, hands = self.options.views, list(one.scene.hands)
        blocks = _blank(views, len(frames))
        joints = one.joints_m[frames.start : frames.stop][:, hands]
        R, t = one.cameras.T_cam_world[:, None, None, None, :3, :3], one.cameras.T_cam_world[:, None, None, None, :3, 3]
        in_camera = (R @ joints[..., None])[..., 0] + t
        blocks["points"][0][:, :, hands] = one.cameras.project(joints)
        blocks["joints_cam"][0][:, :, hands] = in_camera
        light, arms = light_of(one.scene.lamps), {hand: self._arm_at_rest(one, hand) for hand in hands}
        for at, frame in enumerate(frames):
            layers = [
                (1 + hand, light_hands([skins[hand]], self._vertices(one, hand, frame)[None], light)) for hand in hands
            ]
            layers += things_at(one.scene, one.joints_m[frame], light)
            layers += [(1 + hand + ARM, self._arm(one, arms[hand], hand, frame, light)) for hand in hands]
            for view in range(views):
                seed = int(self._rng(view, frame).integers(2**31))
                picture = take_picture(one.cameras.subset([view]), layers, rooms[view], one.films[view], seed)
                self._save(view, frame, one.films[view], picture.image, picture.mask, picture.depth_m)
                for row, hand in enumerate(hands):
                    uv, in_view = blocks["points"][0, view, at, hand], in_camera[view, at, row]
                    seen = visibility(uv, in_view, 1 + hand, picture.mask, picture.depth_m)
                    blocks["visibility"][0, view, at, hand] = seen
                    blocks["box"][0, view, at, hand] = picture.box[row]
                    blocks["seen"][0, view, at, hand] = picture.seen[row]
        return blocks

    def _vertices(self, one: Shot, hand: int, frame: int) -> ndarray:
        model = hand_models(self.source.hand_model)[hand]
        at = (frame, hand)
        return model.vertices(one.betas[hand], one.global_orient[at], one.hand_pose[at], one.transl[at])

    def _arm_at_rest(self, one: Shot, hand: int) -> tuple[ndarray, HandSkin]:
        """Vertices from the wrist, of a hand that lies as in the zero pose; and their colours."""
        model, still, betas = hand_models(self.source.hand_model)[hand], np.zeros(3), one.betas[hand]
        wrist, knuckle = model.joints(betas, still, np.zeros(NUM_POSE), still)[[0, 9]]
        rest = arm_at_rest(model.vertices(betas, still, np.zeros(NUM_POSE), still), wrist, knuckle, one.scene.arm)
        return rest - wrist, arm_skin(rest, one.scene.arm, one.scene.tone_bgr)

    def _arm(self, one: Shot, arm: tuple[ndarray, HandSkin], hand: int, frame: int, light: Light) -> LitHands:
        R = rotation_from_axis_angle(one.global_orient[frame, hand])
        return light_hands([arm[1]], (arm[0] @ R.T + one.joints_m[frame, hand, 0])[None], light)

    def _save(self, view: int, frame: int, film: Film, image: ndarray, mask: ndarray, depth_m: ndarray) -> None:
        depth = np.where(depth_m < 0.9 * FAR_M, depth_m / DEPTH_UNIT_M + 0.5, 0).astype(np.uint16)
        for kind, picture in (("images", image), ("masks", mask), ("depth", depth)):
            path = picture_path(self.out, kind, self.number, view, frame)
            how = [cv2.IMWRITE_JPEG_QUALITY, film.quality] if kind == "images" else PNG
            with disk_errors(str(self.out)):
                path.write_bytes(cv2.imencode(path.suffix, picture, how)[1].tobytes())


def _blank(views: int, frames: int) -> dict[str, ndarray]:
    shape = (1, views, frames, len(HANDS))
    sizes = {"points": (21, 2), "joints_cam": (21, 3), "box": (4,), "seen": ()}
    blank = {name: np.full((*shape, *size), np.nan, np.float32) for name, size in sizes.items()}
    return {**blank, "visibility": np.zeros((*shape, 21), np.uint8)}


@lru_cache(2)
def _skins(hand_model: str | None, levels: int) -> tuple[HandSkin, ...]:
    skins = []
    for model, side in zip(hand_models(hand_model), HANDS, strict=True):
        skins.append(
            hand_skin({"v_template": model.v_template, "f": model.faces, "J": model.rest_joints}, side, levels)
        )
    return tuple(skins)


def _pictures_plan(
    out: Path, source: ShotSource, options: AugmentSettings, fingerprint: Mapping[str, Any], chunk: int
) -> Plan:
    group = _group("labels", AUGMENTED, source, options, fingerprint, chunk)
    tasks = [Rendered(out, source, options, number, chunk) for number in range(options.sequences)]
    weight = {
        unit: options.views * (min((unit[1] + 1) * chunk, options.frames) - unit[1] * chunk)
        for task in tasks
        for unit in task.units
    }
    return Plan(group, tasks, weight, "images")
