"""What a session's stores hold for its report: every part that is complete, None for the others."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from ..core.cameras import Cameras
from ..core.errors import ModelError, SessionError
from ..core.hands import HANDS, MANO_JOINT, NUM_JOINTS, PARENT
from ..core.quality import Check, from_attributes
from ..core.storage.candidates import read_taken_px
from ..core.storage.opened_arrays import METADATA
from ..core.storage.schema import read_cameras
from ..core.storage.store import Store
from ..hand.loading import hand_models
from ..hand.model import HandModel, forward_kinematics, local_rotations
from .measures import project, reprojection_px

CHUNK = 256
"""Frames whose detections are in the memory at once."""

CARRIER = np.where(MANO_JOINT >= 0, MANO_JOINT, MANO_JOINT[PARENT])
"""(joint,) MANO's joint that turns each landmark's offset: its own, or for a fingertip the last of the finger."""

STAGES: Mapping[str, tuple[str, str]] = {
    "cameras": ("calibrate", "the calibrated cameras"),
    "detections": ("detect", "2D hands in every image"),
    "keypoints": ("triangulate", "3D keypoints"),
    "quality": ("triangulate", "the verdict"),
    "mano": ("fit", "the fitted hands"),
}
"""Groups in the order of the stages: the command that writes each, and what it holds."""


@dataclass(frozen=True, eq=False)
class Results:
    """A session's results; arrays as the store has them (docs/store.md)."""

    root: Path
    store: Store
    rig: Store
    views: tuple[str, ...]
    frames: int
    fps: float
    cameras: Cameras | None
    view_errors: Mapping[str, ndarray]
    """(view,) arrays of the groups `cameras`, `quality` and `clock`, by name."""
    found: ndarray | None
    """(view, frame) int, detections in each image."""
    assignment: ndarray | None
    """(view, frame, hand) int."""
    points: ndarray | None
    """(frame, hand, joint, 3) keypoints, metres."""
    votes: ndarray | None
    """(frame, hand) log-odds of the detector's labels that the hand is a right hand; NaN where there is none."""
    error_px: ndarray | None
    """(view, frame, hand, joint) float32 from the detections to the projected keypoints, pixels."""
    mano: Mapping[str, ndarray] | None
    models: tuple[HandModel, HandModel] | None
    no_models: str
    """Why there are no meshes, a sentence."""
    source_frame: ndarray | None
    """(view, frame) int, frame of the view's clip; -1 none."""

    @property
    def checks(self) -> tuple[Check, ...]:
        """The checks of the group `quality`; none where there is no verdict."""
        return from_attributes(self.store.attrs("quality"))

    @property
    def joints(self) -> ndarray | None:
        """(frame, hand, joint, 3) metres: fitted joints, keypoints where there is no fit."""
        if self.mano is None:
            return None if self.points is None else self.points.astype(float)
        return np.where(self.mano["valid"][..., None, None], self.mano["joints"], np.nan).astype(float)

    def vertices(self, frames: ndarray) -> ndarray | None:
        """(frame, hand, 778, 3) metres, NaN where the fit is not valid; None without a mesh."""
        if self.mano is None or self.models is None:
            return None
        poses = {name: self.mano[name][frames] for name in ("global_orient", "hand_pose", "transl")}
        meshes = [
            model.vertices(self.mano["betas"][i], *(poses[name][:, i] for name in poses))
            for i, model in enumerate(self.models)
        ]
        return np.where(self.mano["valid"][frames][..., None, None], np.stack(meshes, axis=1), np.nan)

    def residual_m(self, frames: ndarray) -> ndarray:
        """(frame, hand, joint) from the fitted landmarks to the keypoints, metres; NaN without both.

        Where the detector's landmarks lie beside the model's joints (`shape/offsets`), that is not counted.
        """
        if self.mano is None or self.points is None or self.models is None:
            return np.full((len(frames), len(HANDS), NUM_JOINTS), np.nan)
        landmarks = self.mano["joints"][frames].astype(float)
        if self.store.complete("shape"):
            offsets = np.nan_to_num(self.store.read("shape", "offsets").astype(float))
            for i, model in enumerate(self.models):
                pose = (self.mano[name][frames, i].astype(float) for name in ("global_orient", "hand_pose"))
                R_world, _ = forward_kinematics(local_rotations(*pose), model.rest_joints)
                landmarks[:, i] += np.einsum("fjab,jb->fja", R_world[:, CARRIER], offsets[i])
        apart = np.linalg.norm(landmarks - self.points[frames], axis=-1)
        return np.where(self.mano["valid"][frames][..., None], apart, np.nan)

    def detected_px(self, views: Sequence[int], frames: ndarray) -> ndarray:
        """(view, frame, hand, joint, 2) detections that were taken, of some views and frames; NaN where none."""
        out = np.full((len(views), len(frames), len(HANDS), NUM_JOINTS, 2), np.nan)
        if self.assignment is not None:
            for start in range(0, self.frames, CHUNK):
                here = (frames >= start) & (frames < start + CHUNK)
                if here.any():
                    taken = read_taken_px(self.store, slice(start, start + CHUNK))
                    out[:, here] = taken[list(views)][:, frames[here] - start]
        return out


def find_stores(root: Path, store: str | None, prune: int | None) -> tuple[Store, Store]:
    """The stores with the results and with the cameras.

    Raises:
        SessionError: there is no session, or nothing was computed.
        StoreError: a store cannot be read, or a newer handpipe wrote it.
    """
    if (root / METADATA).is_file():
        raise SessionError(
            f"{root}: expected a session folder, but found a store. Give the session folder; "
            "`--store` names a store that is elsewhere."
        )
    if not root.is_dir():
        raise SessionError(f"{root}: expected a session folder, but there is no such folder. Check the spelling.")
    rig = Store((store or str(root / "session.zarr")).rstrip("/"))
    results = rig if prune is None else Store(f"{rig.url.removesuffix('.zarr')}-prune-{prune}.zarr")
    for each in (rig, results):
        if not each.exists():
            raise SessionError(
                f"{each.url}: expected the results of a session, but nothing was computed yet. "
                f"Run `handpipe run {root}{'' if prune is None else f' --prune {prune}'}` first."
            )
    return results, rig


def read_results(root: Path, store: Store, rig: Store, hand_model: str | None) -> Results:
    """Read what the report shows.

    Args:
        root: the session folder.
        store: the results.
        rig: the cameras; the same store unless the run was pruned.
        hand_model: folder with the hand model; None: the procedural hands.
    """
    has = {name: each.complete(name) for each in (rig, store) for name in (*STAGES, "clock", "timeline", "groups")}
    has["cameras"] = rig.complete("cameras")
    cameras = read_cameras(rig) if has["cameras"] else None
    views = cameras.names if cameras else store.labels("detections", "view") if has["detections"] else ()
    points = store.read("keypoints", "points") if has["keypoints"] else None
    filmed = has["keypoints"] and cameras is not None and store.has("keypoints", "assignment") and has["detections"]
    assignment = store.read("keypoints", "assignment") if filmed else None
    mano = _mano(store) if has["mano"] else None
    clock = next((name for name in ("clock", "timeline") if has[name]), None)
    source = store.read(clock, "source_frame") if clock else None
    found = _found(store) if has["detections"] else None
    frames = next((len(each) for each in (points, mano and mano["valid"]) if each is not None), 0)
    frames = frames or (0 if source is None else source.shape[1])
    fps = next(
        (float(rate) for name in ("mano", "keypoints", "timeline") if (rate := store.attrs(name).get("fps"))), 0.0
    )
    models, no_models = (
        (None, "") if mano is None else hand_models_of(store.attrs("mano").get("hand_model"), hand_model)
    )
    return Results(
        *(root, store, rig, views, frames, fps, cameras),
        view_errors=_view_errors(store, rig, len(views)),
        found=found,
        assignment=assignment,
        points=points,
        votes=_votes(store) if filmed and has["groups"] and store.complete("tracks") else None,
        error_px=None if not filmed or cameras is None or points is None else _errors(store, cameras, points),
        mano=mano,
        models=models,
        no_models=no_models,
        source_frame=source,
    )


def _mano(store: Store) -> dict[str, ndarray]:
    names = ("betas", "global_orient", "hand_pose", "transl", "joints", "valid", "residual")
    return {name: store.read("mano", name) for name in names if store.has("mano", name)}


def hand_models_of(wanted: Any, folder: str | None) -> tuple[tuple[HandModel, HandModel] | None, str]:
    """The models that the hands were fitted with, or why they are not here."""
    try:
        models = hand_models(folder)
    except ModelError as error:
        return None, str(error)
    here = [model.model_id for model in models]
    if here == list(wanted or ()):
        return models, ""
    return None, (
        f"The hands were fitted with the model {', '.join(map(str, wanted or ('unknown',)))}, but hand_model is "
        f"{', '.join(here)}: no meshes are shown. Name the folder of that model with --hand-model."
    )


def _found(store: Store) -> ndarray:
    """(view, frame) detections in each image."""
    score = store.read("detections", "score")
    return np.isfinite(score).sum(axis=-1)


def _votes(store: Store) -> ndarray:
    slot, votes = store.read("tracks", "slot").astype(int), store.read("groups", "votes")
    return np.where(slot >= 0, np.take_along_axis(votes, np.maximum(slot, 0), axis=1), np.nan)


def _errors(store: Store, cameras: Cameras, points: ndarray) -> ndarray:
    parts = []
    for start in range(0, len(points), CHUNK):
        frames = slice(start, start + CHUNK)
        parts.append(reprojection_px(project(cameras, points[frames]), read_taken_px(store, frames)))
    shape = (len(cameras), 0, *points.shape[1:3])
    return np.concatenate(parts, axis=1) if parts else np.zeros(shape, np.float32)


def _view_errors(store: Store, rig: Store, views: int) -> dict[str, ndarray]:
    wanted = {
        "cameras": ("rms", "held_out", "held_out_m", "by_others", "by_others_m"),
        "quality": ("share", "error", "error_m", "explanation"),
        "clock": ("offset", "sigma"),
    }
    found = {}
    for group, names in wanted.items():
        each = rig if group == "cameras" else store
        for name in names:
            if each.complete(group) and each.has(group, name) and len(values := each.read(group, name)) == views:
                found[name] = values
    return found
