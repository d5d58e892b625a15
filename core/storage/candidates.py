"""The candidates of a store as later stages count them: detected, moved to the instants, and of the second look."""

# Ring 2: reads and writes.

from __future__ import annotations

import numpy as np
from numpy import ndarray

from .schema import DETECTIONS, FOUND_BY, UNCERTAINTY, Columns
from .store import Store


def detections_group(store: Store) -> str:
    """Where the candidates are that later stages count: `aligned` where the clock moves them, else `detections`."""
    return "aligned" if store.attrs("clock").get("moves", False) else "detections"


def read_candidates(store: Store, frames: slice, second_look: bool) -> dict[str, ndarray]:
    """`points`, `score`, `right` and `sigma` of every candidate, as `assignment` counts them: (view, frame, candidate,
    ...). `sigma` is NaN where the detector does not say it.

    Args:
        store: where `detections` is, and `aligned` if they had to be moved.
        frames: which.
        second_look: whether the candidates of `second_look` follow, one for each hand.
    """
    detected = detections_group(store)
    groups = (detected, "second_look") if second_look else (detected,)
    found = [_candidates(store, group, (slice(None), frames)) for group in groups]
    return {name: np.concatenate([each[name] for each in found], axis=2) for name in (*DETECTIONS, *UNCERTAINTY)}


def further_columns(store: Store, group: str = "detections") -> Columns:
    """The columns that a group of candidates has besides those of `DETECTIONS`."""
    return {name: column for name, column in {**UNCERTAINTY, **FOUND_BY}.items() if store.has(group, name)}


def read_found_by(store: Store, group: str, region: tuple[slice, ...]) -> ndarray | None:
    """(view, frame, candidate) index of the detector that found each candidate; None where there is one detector."""
    return store.read(group, "found_by", region) if store.has(group, "found_by") else None


def _candidates(store: Store, group: str, region: tuple[slice, ...]) -> dict[str, ndarray]:
    further = [name for name in further_columns(store, group) if name in UNCERTAINTY]
    found = store.read_each(group, (*DETECTIONS, *further), region)
    return found if further else found | {"sigma": np.full(found["points"].shape[:-1], np.nan, np.float32)}


def read_taken_px(store: Store, frames: slice) -> ndarray:
    """(view, frame, hand, joint, 2) float64 pixels of the candidate that was taken for each hand; NaN where none."""
    assignment = store.read("keypoints", "assignment", (slice(None), frames)).astype(int)
    detected = store.read(detections_group(store), "points", (slice(None), frames))
    if assignment.max(initial=-1) >= detected.shape[2]:
        detected = np.concatenate([detected, store.read("second_look", "points", (slice(None), frames))], axis=2)
    return candidates_at(detected, assignment).astype(np.float64)


def candidates_at(points: ndarray, which: ndarray) -> ndarray:
    """(view, frame, hand, joint, 2) the candidates (view, frame, candidate, joint, 2) that are taken; NaN for -1."""
    taken = np.take_along_axis(points, np.maximum(which, 0)[..., None, None], axis=2)
    return np.where(which[..., None, None] >= 0, taken, np.nan)
