"""The first groups of the `triangulate` stage: `clock` (corrected capture time of every image) and, if cameras are not
synchronised, `aligned` (detections interpolated to common instants)."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy import ndarray

from ..core.cameras import Cameras
from ..core.engine import Plan, Unit
from ..core.storage.candidates import further_columns
from ..core.storage.schema import CLOCK, DETECTIONS, group_spec, read_cameras
from ..core.storage.spec import PART_FRAMES
from ..core.storage.store import Store
from .frame_shifts import find_shifts
from .settings import TimeSyncSettings
from .time_alignment import align, images_at
from .time_offsets import SURE, Offsets, find_offsets

CODE = 2
"""Version of this code. Increase it when results change for the same input."""

WINDOWS = 8
"""Number of runs of frames that are used in a long recording."""


@dataclass(frozen=True)
class SetClocks:
    """Task that estimates the time offsets of the whole session."""

    store: Store
    rig: Store
    options: TimeSyncSettings
    timestamps: bool
    units: Sequence[Unit] = ((0,),)

    def run(self, todo: Sequence[Unit]) -> Iterator[tuple[Unit, Mapping[str, ndarray]]]:
        time_s = self.store.read("timeline", "time")
        source = self.store.read("timeline", "source_frame")
        time_s = np.where(source >= 0, time_s, np.nan)
        # A repeated picture was taken once.
        time_s[:, 1:][source[:, 1:] == source[:, :-1]] = np.nan
        instant_s = instants(time_s, self.store.attrs("timeline")["fps"])
        step_s = 1 / self.store.attrs("timeline")["fps"]
        found = self._estimate(read_cameras(self.rig), time_s, instant_s)
        sure = found.sigma_s < self.options.max_sigma_frames * step_s
        largest_s = np.abs(found.offset_s) + np.abs(found.drift) * found.middle_s
        least_s = np.maximum(SURE * found.sigma_s, self.options.min_offset_frames * step_s)
        used = sure & (sure & (largest_s > least_s)).any()
        corrected = np.where(used[:, None], found.corrected(time_s), time_s)
        images = images_at(corrected, instant_s)
        row = np.arange(len(source))[:, None]
        blocks = {
            "offset": found.offset_s,
            "drift": found.drift,
            "sigma": found.sigma_s,
            "drift_sigma": found.drift_sigma,
        }
        known = np.isfinite(found.sigma_s)
        yield (
            todo[0],
            {
                **{name: np.where(known, values, np.nan) for name, values in blocks.items()},
                "used": used,
                "time": corrected,
                "instant": instant_s,
                "source_frame": np.where(images.near, source[row, images.base], -1),
                "lag": np.where(images.near, instant_s - corrected[row, images.base], np.nan),
            },
        )

    def _estimate(self, cameras: Cameras, time_s: ndarray, instant_s: ndarray) -> Offsets:
        views, options = len(cameras), self.options
        unknown = np.full(views, np.inf)
        nothing = Offsets(np.zeros(views), unknown, np.zeros(views), unknown, float(np.mean(instant_s)))
        if not (options.estimate and options.interpolate) or cameras.calibrated.sum() < 2 or len(instant_s) < 16:
            return nothing
        step_s = float(np.median(np.diff(instant_s)))
        reach = 0 if self.timestamps else int(np.ceil(options.max_offset_s / step_s))
        frames, looked = sample(len(instant_s), options.instants, 2 * reach + 4)
        points, score, right = (self._read(name, frames) for name in DETECTIONS)
        if self.store.has("detections", "found_by"):
            # What another detector finds of the same hands says nothing new of time.
            points = np.where((self._read("found_by", frames) == 0)[..., None, None], points, np.nan)
        shift = np.zeros(views)
        if reach:
            shift = step_s * find_shifts(cameras, points, score, frames, looked, reach)
        found = find_offsets(cameras, points, score, right, time_s[:, frames] - shift[:, None], instant_s[looked])
        offset_s = found.offset_s - shift
        return replace(found, offset_s=offset_s - np.median(offset_s))

    def _read(self, name: str, frames: ndarray) -> ndarray:
        """Some frames of `detections`, which come in few runs."""
        runs = np.split(frames, np.flatnonzero(np.diff(frames) > 1) + 1)
        parts = [self.store.read("detections", name, (slice(None), slice(int(r[0]), int(r[-1]) + 1))) for r in runs]
        return np.concatenate(parts, axis=1)


def instants(time_s: ndarray, fps: float) -> ndarray:
    """(frame,) times of the instants: the median time of each instant's images; regular steps where there is none.

    Args:
        time_s: (view, frame) seconds, NaN where there is no image.
        fps: instants per second.
    """
    known = np.isfinite(time_s).any(0)
    frame = np.arange(time_s.shape[1])
    if not known.any():
        return frame / fps
    at = frame[known]
    median = np.nanmedian(time_s[:, known], axis=0)
    between = np.interp(frame, at, median)
    return between + (np.minimum(frame - at[0], 0) + np.maximum(frame - at[-1], 0)) / fps


def sample(count: int, looked: int, margin: int) -> tuple[ndarray, ndarray]:
    """Select frames to read and instants to compare, both sorted: all of a short recording, runs of a long one.

    Args:
        count: frames of the recording.
        looked: maximum number of instants to compare.
        margin: frames to read around each instant.
    """
    each = looked // WINDOWS
    if count <= WINDOWS * (each + 2 * margin):
        return np.arange(count), np.unique(np.linspace(0, count - 1, min(looked, count)).round().astype(int))
    start = np.linspace(margin, count - margin - each, WINDOWS).astype(int)
    at = np.unique(start[:, None] + np.arange(each))
    read = np.unique(start[:, None] + np.arange(-margin, each + margin))
    return read, at


@dataclass(frozen=True)
class AlignFrames:
    """All views in a chunk of frames."""

    store: Store
    unit: Unit
    frames: slice

    @property
    def units(self) -> Sequence[Unit]:
        return [self.unit]

    def run(self, todo: Sequence[Unit]) -> Iterator[tuple[Unit, Mapping[str, ndarray]]]:
        time_s = self.store.read("clock", "time")
        images = images_at(time_s, self.store.read("clock", "instant")).part(self.frames)
        used = np.concatenate([images.base, images.other])
        used = used[used >= 0]
        first, stop = (int(used.min()), int(used.max()) + 1) if used.size else (0, 1)
        said = ("score", "right", *further_columns(self.store))
        region = (slice(None), slice(first, stop))
        found = {name: self.store.read("detections", name, region) for name in ("points", *said)}
        images = images.counted_from(first)
        aligned = align(found["points"], images)
        row = np.arange(len(time_s))[:, None]
        there = np.asarray(np.isfinite(aligned.points_px).any((-2, -1)))
        yield (
            todo[0],
            {
                "points": aligned.points_px,
                **{name: _only(there, found[name][row, images.base]) for name in said},
            },
        )


def _only(there: ndarray, values: ndarray) -> ndarray:
    """Values (view, frame, candidate, ...) of candidates that are there (view, frame, candidate), NaN of the others."""
    return np.where(there.reshape(*there.shape, *[1] * (values.ndim - there.ndim)), values, np.nan)


def clock_plan(store: Store, rig: Store, options: TimeSyncSettings, chunk_frames: int) -> Plan:
    """The plan of the group `clock`: capture times of all images.

    Args:
        store: store with `timeline` and `detections`.
        rig: store with `cameras`.
        options: settings of time synchronisation.
        chunk_frames: unused; the whole session is processed at once.
    """
    del chunk_frames
    views, frames = store.shape("timeline", "source_frame")
    timeline = store.attrs("timeline")
    group = group_spec(
        "clock",
        CLOCK,
        sizes={"view": views, "frame": frames, "session": 1},
        unit={"session": 1},
        fingerprint={
            "settings": asdict(options),
            "inputs": {
                **{name: store.digest_of(name) for name in ("timeline", "detections")},
                "cameras": rig.digest_of("cameras"),
            },
            "code": CODE,
        },
        attrs={"fps": timeline["fps"]},
        coords={"view": (("view",), np.array(store.labels("detections", "view"), object))},
        parts={"frame": PART_FRAMES},
    )
    task = SetClocks(store, rig, options, bool(timeline.get("timestamps", False)))

    def summarize(store: Store) -> dict[str, Any]:
        images = images_at(store.read("clock", "time"), store.read("clock", "instant"))
        return {"moves": options.interpolate and images.moves}

    return Plan(group, [task], {(0,): 1}, "session", summarize)


def aligned_plan(store: Store, chunk_frames: int) -> Plan:
    """The plan of the group `aligned`: detections at common instants, with the same indices as in `detections`."""
    views, frames = store.shape("timeline", "source_frame")
    chunk = min(chunk_frames, frames)
    slices = {(i,): slice(start, min(start + chunk, frames)) for i, start in enumerate(range(0, frames, chunk))}
    group = group_spec(
        "aligned",
        {**DETECTIONS, **further_columns(store)},
        sizes={"view": views, "frame": frames, "candidate": store.shape("detections", "score")[2]},
        unit={"frame": chunk},
        fingerprint={
            "settings": {},
            "inputs": {name: store.digest_of(name) for name in ("clock", "detections")},
            "code": CODE,
        },
        attrs={"fps": store.attrs("timeline")["fps"]},
        coords={"view": (("view",), np.array(store.labels("detections", "view"), object))},
    )
    tasks = [AlignFrames(store, unit, part) for unit, part in slices.items()]
    return Plan(group, tasks, {unit: part.stop - part.start for unit, part in slices.items()}, "frames")
