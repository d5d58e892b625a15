"""What a run needs here: models, room for results, memory, and time."""

# Ring 2: reads and writes.

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from ..capture.installed import ChosenDetectors, chosen_detectors
from ..capture.mediapipe import bundle
from ..core.cluster.local import cpu_count
from ..core.errors import ConfigError, ModelError
from ..core.quality import Check
from ..core.recording import Session
from ..hand.loading import hand_models
from ..settings import Config
from .findings import fine, told

BYTES_PER_IMAGE, BYTES_PER_FRAME = 2_500, 6_000
"""Of a store with two hands, compressed, at the most: for each image of a clip, and for each instant."""
SPARE_BYTES = 500e6
"""Room that a run should leave."""
WORKER_BYTES, IMAGES_HELD = 700e6, 12
"""Memory of a worker with its detector, and images that it holds at once."""
SECOND_LOOK = 1.7
"""Time of detection with the second look, relative to that without it."""
FIT_S = 4e-3
"""Seconds to triangulate and fit one instant of one view, about."""
START_S = 15.0
"""To start workers and to calibrate, about."""


@dataclass(frozen=True)
class Speed:
    """What was measured while looking, on one core, milliseconds for each image; NaN where it was not."""

    board_ms: float
    hands_ms: float


def detector_checks(config: Config) -> tuple[ChosenDetectors | None, tuple[Check, ...]]:
    """The detectors of the settings if they can be used now without fetching anything, and findings about them."""
    options = config.detection
    try:
        found = chosen_detectors(options)
        standard = any(each.detector in bundle.DETECTORS and each.model is None for each in options.each)
        if standard and not bundle.standard_path().is_file():
            reason = (
                f"expected the hand model in {bundle.standard_path()}, but it is not there; hands were not "
                f"looked for. The first run downloads the wheel {bundle.WHEEL} and takes it from there."
            )
            remedy = "Connect to a package index for the first run, or set `detection.model`."
            return None, (Check("detector", "warning", None, None, "", reason, remedy),)
        models = found.models()
    except (ConfigError, ModelError) as error:
        return None, (told("detector", "error", str(error)),)
    return found, (fine("detector", ", ".join([found.version, *map(str, models.values())])),)


def model_checks(config: Config) -> Iterator[Check]:
    """The hand model of the settings."""
    if config.hand_model is None:
        yield fine("hand model", "the procedural hand, which needs no file")
        return
    try:
        models = hand_models(config.hand_model)
    except ModelError as error:
        yield told("hand model", "error", str(error))
        return
    yield fine("hand model", f"{config.hand_model}: {', '.join(model.model_id for model in models)}")


def room_checks(session: Session, store: str) -> Iterator[Check]:
    """Whether results can be written, and fit."""
    if "://" in store:
        yield fine("disk", f"not tested: {store} is not a local folder")
        return
    place = Path(store)
    while not place.exists():
        place = place.absolute().parent
    if not os.access(place, os.W_OK):
        reason = f"{place}: expected to write the results here, but the folder is not writable."
        yield Check(
            "disk", "error", None, None, "", reason, "Change its permissions, or name another place with --store."
        )
        return
    board = len(session.board_clips) * session.board_timeline.frames
    images = len(session.clips) * session.timeline.frames + board
    needed = images * BYTES_PER_IMAGE + session.timeline.frames * BYTES_PER_FRAME
    free = shutil.disk_usage(place).free
    found = f"{free / 1e9:.1f} GB free, about {needed / 1e6:.0f} MB needed"
    if free < needed + SPARE_BYTES:
        reason = f"{place}: expected room for the results, but found {found}."
        severity = "error" if free < needed else "warning"
        yield Check(
            "disk", severity, float(free), needed, "", reason, "Free some space, or name another place with --store."
        )
    else:
        yield fine("disk", found, float(free), needed)


def memory_check(session: Session, config: Config) -> Check:
    """Whether the workers fit into memory."""
    workers = _workers(config)
    size = max(clip.size_px[0] * clip.size_px[1] for clip in (*session.clips, *session.board_clips.values()))
    needed = workers * (WORKER_BYTES + IMAGES_HELD * 3 * size)
    available = psutil.virtual_memory().available
    found = f"{available / 1e9:.1f} GB available, about {needed / 1e9:.1f} GB needed by {workers} workers"
    if available >= needed:
        return fine("memory", found, float(available), needed)
    fewer = max(int(workers * available / needed), 1)
    return Check(
        "memory",
        "warning",
        float(available),
        needed,
        "",
        f"expected room for the workers, but found {found}.",
        f"Use `--workers {fewer}`, or close other programs.",
    )


def time_check(session: Session, config: Config, speed: Speed) -> Check:
    """About how long a run takes here."""
    images = len(session.clips) * session.timeline.frames
    board = len(session.board_clips) * session.board_timeline.frames
    if speed.hands_ms != speed.hands_ms:
        return fine("time", "unknown: no detection was timed")
    hands_s = images * 1e-3 * speed.hands_ms * (SECOND_LOOK if config.second_look.enabled else 1.0)
    board_s = 0.0 if speed.board_ms != speed.board_ms else board * 1e-3 * speed.board_ms
    seconds = START_S + (hands_s + board_s + images * FIT_S) / _workers(config)
    text = f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{seconds:.0f} s"
    return fine("time", f"about {text} for a first run with {_workers(config)} workers", seconds)


def _workers(config: Config) -> int:
    return max(config.engine.workers if config.engine.workers is not None else cpu_count(), 1)
