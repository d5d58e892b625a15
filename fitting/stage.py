"""The `fit` stage: `shape` (constant parameters of each hand), then `mano` (both hands, window by window)."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy import ndarray

from ..core.engine import Plan, Unit
from ..core.hands import HANDS
from ..core.storage.candidates import read_taken_px
from ..core.storage.schema import MANO, SHAPE, group_spec, imported, read_cameras
from ..core.storage.store import Store
from ..hand.loading import hand_models
from ..hand.model import HandModel
from .gauss_newton import PointTerm, best_seen
from .reprojection import reprojection_term, view_sigma_px
from .settings import FittingSettings
from .solver import HandShape, find_shape, fit_hands

CODE = 2
"""Version of this code. Increase it when results change for the same input."""

NEAR_FRAMES = 16
"""Frames that are not further from each other are read together, with those between them."""

SHAPE_SETTINGS = (
    "landmark_sigma_m",
    "robust_scale",
    "flexion_sd_rad",
    "abduction_sd_rad",
    "hinge_sd_rad",
    "twist_sd_rad",
    "min_observed_joints",
    "shape_frames",
    "shape_evidence_frames",
    "landmark_offsets",
    "landmark_offset_sd_m",
    "reprojection",
    "reprojection_floor_px",
    "max_iterations",
)
"""Settings that the shape depends on."""


@dataclass(frozen=True)
class _Inputs:
    """The inputs of a task."""

    store: Store
    rig: Store
    options: FittingSettings
    model_folder: str | None

    def models(self) -> tuple[HandModel, HandModel]:
        return hand_models(self.model_folder)

    @property
    def detections(self) -> bool:
        """Whether the fit goes back to the detections: imported keypoints have none."""
        return self.options.reprojection and not imported(self.store)

    def keypoints(self, frames: slice) -> tuple[ndarray, ndarray]:
        """Points (frame, hand, 21, 3) and sigma (frame, hand, 21)."""
        points, sigma = self.store.read_each("keypoints", ("points", "sigma"), frames).values()
        return points.astype(np.float64), sigma.astype(np.float64)

    def detected_px(self, frames: slice) -> ndarray:
        """(view, frame, hand, 21, 2) the candidate that was taken for each hand; NaN where there is none."""
        return read_taken_px(self.store, frames)


@dataclass(frozen=True)
class FindShape:
    """One hand's shape, from frames spread over the whole session, and how noisy its detections are there."""

    inputs: _Inputs
    hand: int

    @property
    def units(self) -> Sequence[Unit]:
        return [(self.hand,)]

    def run(self, todo: Sequence[Unit]) -> Iterator[tuple[Unit, Mapping[str, ndarray]]]:
        options, inputs = self.inputs.options, self.inputs
        sigma = inputs.store.read("keypoints", "sigma", (slice(None), self.hand))
        frames = best_seen(sigma, options.min_observed_joints, options.shape_frames)
        read = [(at, *inputs.keypoints(part)) for part, at in near_frames(frames)]
        points = np.concatenate([points[at, self.hand] for at, points, _ in read] or [np.empty((0, 21, 3))])
        sigmas = np.concatenate([sigma[at, self.hand] for at, _, sigma in read] or [np.empty((0, 21))])
        shape = find_shape(inputs.models()[self.hand], points, sigmas, options) if len(frames) else None
        blocks: dict[str, ndarray] = {
            "betas": np.full((1, 10), np.nan) if shape is None else shape.betas[None],
            "offsets": np.full((1, 21, 3), np.nan) if shape is None else shape.offsets_m[None],
        }
        if inputs.detections:
            blocks["noise"] = self._noise_px(frames, points)[None]
        yield todo[0], blocks

    def _noise_px(self, frames: ndarray, points_m: ndarray) -> ndarray:
        cameras = read_cameras(self.inputs.rig)
        if len(frames) == 0:
            return np.full(len(cameras), np.nan)
        detected = [self.inputs.detected_px(part)[:, at, self.hand] for part, at in near_frames(frames)]
        floor_px = self.inputs.options.reprojection_floor_px
        return view_sigma_px(cameras, np.concatenate(detected, axis=1), points_m, floor_px)


def near_frames(frames: ndarray) -> Iterator[tuple[slice, ndarray]]:
    """Frames in ascending order, cut where they are far from each other: what to read at once, and which of it."""
    for run in np.split(frames, np.flatnonzero(np.diff(frames) > NEAR_FRAMES) + 1) if len(frames) else ():
        yield slice(int(run[0]), int(run[-1]) + 1), run - run[0]


@dataclass(frozen=True)
class FitWindow:
    """Both hands in one window, fitted together with some frames before and after it."""

    inputs: _Inputs
    fps: float
    unit: Unit
    frames: slice
    around: slice

    @property
    def units(self) -> Sequence[Unit]:
        return [self.unit]

    def run(self, todo: Sequence[Unit]) -> Iterator[tuple[Unit, Mapping[str, ndarray]]]:
        points, sigma = self.inputs.keypoints(self.around)
        shapes = self._shapes()
        for hand, shape in enumerate(shapes):
            if shape is None:
                points[:, hand] = np.nan
        fits = fit_hands(
            self.inputs.models(), points, sigma, self.fps, self.inputs.options, shapes, self._terms(points, shapes)
        )
        own = slice(self.frames.start - self.around.start, self.frames.stop - self.around.start)
        blocks = {
            name: np.stack([getattr(fit, field)[own] for fit in fits], axis=1)
            for name, field in (
                ("global_orient", "global_orient"),
                ("hand_pose", "hand_pose"),
                ("transl", "transl"),
                ("joints", "joints_m"),
                ("residual", "residual_m"),
                ("valid", "valid"),
            )
        }
        betas = np.stack([np.zeros(10) if shape is None else shape.betas for shape in shapes])
        yield self.unit, {**blocks, "betas": betas}

    def _shapes(self) -> list[HandShape | None]:
        found = self.inputs.store.read_each("shape", ("betas", "offsets"))
        betas, offsets = (array.astype(np.float64) for array in found.values())
        return [HandShape(b, o) if np.isfinite(b).all() else None for b, o in zip(betas, offsets, strict=True)]

    def _terms(self, points_m: ndarray, shapes: Sequence[HandShape | None]) -> list[PointTerm | None]:
        if not self.inputs.detections:
            return [None, None]
        options, cameras = self.inputs.options, read_cameras(self.inputs.rig)
        noise = self.inputs.store.read("shape", "noise").astype(np.float64)
        detected = self.inputs.detected_px(self.around)
        return [
            None
            if shape is None
            else reprojection_term(
                cameras, detected[:, :, hand], noise[hand], points_m[:, hand], options.landmark_sigma_m
            )
            for hand, shape in enumerate(shapes)
        ]


def _decided(store: Store, options: FittingSettings) -> FittingSettings:
    """Resolve settings that depend on the origin of the keypoints."""
    if options.landmark_offsets is not None:
        return options
    return replace(options, landmark_offsets=not imported(store))


def shape_plan(store: Store, rig: Store, options: FittingSettings, model_folder: str | None, chunk_frames: int) -> Plan:
    """Find the shape of each hand.

    Args:
        store: store with `keypoints`, and `detections` if there are any.
        rig: store with `cameras`, if there are any.
        options: the solver's settings.
        model_folder: with MANO_LEFT.npz and MANO_RIGHT.npz; None for the procedural hand.
        chunk_frames: unused; the result does not depend on chunks.
    """
    del chunk_frames
    options = _decided(store, options)
    inputs = _Inputs(store, rig, options, model_folder)
    columns, coords = dict(SHAPE), {}
    sizes: dict[str, int] = {}
    if inputs.detections:
        views = rig.labels("cameras", "view")
        sizes["view"], coords["view"] = len(views), (("view",), np.array(views, object))
    else:
        del columns["noise"]
    models = [model.model_id for model in inputs.models()]
    chosen = asdict(options)
    group = group_spec(
        "shape",
        columns,
        sizes=sizes,
        unit={"hand": 1},
        fingerprint={
            "settings": {name: chosen[name] for name in SHAPE_SETTINGS},
            "inputs": {**_observations(inputs), "hand_model": models},
            "code": CODE,
        },
        attrs={"hand_model": models},
        coords=coords,
    )
    return Plan(group, [FindShape(inputs, hand) for hand in range(len(HANDS))], {(0,): 1, (1,): 1}, "hands")


def mano_plan(store: Store, rig: Store, options: FittingSettings, model_folder: str | None, chunk_frames: int) -> Plan:
    """Fit both hands; arguments as for `shape_plan`.

    Windows are a setting of the fit, not of the engine, so that the result does not depend on the chunking.
    """
    del chunk_frames
    options = _decided(store, options)
    inputs = _Inputs(store, rig, options, model_folder)
    fps = store.attrs("keypoints")["fps"]
    frames = store.shape("keypoints", "sigma")[0]
    models = [model.model_id for model in inputs.models()]
    window, overlap = min(options.window_frames, max(frames, 1)), options.window_overlap
    group = group_spec(
        "mano",
        MANO,
        sizes={"frame": frames},
        unit={"frame": window},
        fingerprint={
            "settings": {**asdict(options), "fps": fps},
            "inputs": {"shape": store.digest_of("shape"), **_observations(inputs), "hand_model": models},
            "code": CODE,
        },
        attrs={"fps": fps, "hand_model": models},
    )
    tasks = []
    for index, start in enumerate(range(0, frames, window)):
        stop = min(start + window, frames)
        around = slice(max(0, start - overlap), min(stop + overlap, frames))
        tasks.append(FitWindow(inputs, fps, (index,), slice(start, stop), around))
    weight = {task.unit: task.frames.stop - task.frames.start for task in tasks}
    return Plan(group, tasks, weight, "frames")


PLANS: Mapping[str, Callable[[Store, Store, FittingSettings, str | None, int], Plan]] = {
    "shape": shape_plan,
    "mano": mano_plan,
}
"""The stage's groups, in order."""


def _observations(inputs: _Inputs) -> dict[str, Any]:
    """Fingerprint of the observations. `keypoints` depend on detections and cameras, so their digest covers these."""
    return {"keypoints": inputs.store.digest_of("keypoints"), "detections": inputs.detections}
