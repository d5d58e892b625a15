"""Detection in whole images against detection where the views together show the hands: time and errors."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from _detection_errors import BOTH_PX, figures_3d, nearest, visible
from _report import Figure
from numpy import ndarray

from handpipe.capture.installed import make_detector
from handpipe.capture.settings import CaptureSettings, DetectionSettings
from handpipe.capture.video import find_clips, probe, read_frames
from handpipe.core.settings import EngineSettings
from handpipe.core.storage.schema import read_cameras
from handpipe.core.storage.store import Store
from handpipe.pipeline import Done, Job, run
from handpipe.settings import Config, Stage
from handpipe.triangulation.settings import SecondLookSettings

LIMITS = {"mediapipe, space": 1.25, "other, space": 2.0}
"""Least throughput, in multiples of MediaPipe alone on every image."""


class Quiet:
    """A screen that shows nothing."""

    def start(self, stage: str, total: int, done: int, noun: str) -> None: ...
    def advance(self, amount: int) -> None: ...
    def stop(self) -> None: ...
    def say(self, text: str) -> None: ...


def region_rows(session: Path, detector: Path, views: int | None, frames: int | None) -> list[Figure]:
    """Figures of every way to detect, on some views and frames of a synthetic session with a calibration."""
    with tempfile.TemporaryDirectory() as folder:
        root, truth = Path(folder) / "session", Store(str(session / "truth.zarr"))
        names = _lay_out(session, root, views)
        known = read_cameras(truth)
        cameras = known.subset([known.names.index(name) for name in names])
        true_px = cameras.project(truth.read("mano", "joints").astype(float)[:frames])
        count = true_px.shape[0] * true_px.shape[1]
        bare_s = _seconds(lambda: _alone(root, true_px.shape[1]))[0]
        rows = [Figure("bare MediaPipe: images per second of CPU", count / bare_s, "1/s")]
        for way, options in _ways(detector).items():
            rows += _rows(way, options, root, truth, true_px, visible(true_px, cameras), (count, bare_s), frames)
        return rows


def _ways(detector: Path) -> dict[str, DetectionSettings]:
    both = {"mediapipe": "mediapipe", "other": str(detector)}
    return {
        f"{name}, {regions}": DetectionSettings(detector=which, regions=regions)
        for name, which in both.items()
        for regions in ("image", "space")
    }


def _lay_out(session: Path, root: Path, views: int | None) -> list[str]:
    """A session of some views of another, with its calibration; their names."""
    (root / "videos").mkdir(parents=True)
    clips = find_clips(session / "videos")
    index = np.unique(np.linspace(0, len(clips) - 1, min(views or len(clips), len(clips))).round().astype(int))
    names = [list(clips)[i] for i in index]
    for name in names:
        (root / "videos" / clips[name].name).symlink_to(clips[name].resolve())
    shutil.copy(session / "cameras.toml", root)
    return names


def _alone(root: Path, frames: int) -> None:
    detector = make_detector(DetectionSettings())
    for path in find_clips(root / "videos").values():
        for image in read_frames(probe(path), range(frames)):
            detector.detect(image)


def _seconds(work: Callable[[], Done | None]) -> tuple[float, Done | None]:
    start = time.process_time()
    done = work()
    return time.process_time() - start, done


def _rows(
    way: str,
    options: DetectionSettings,
    root: Path,
    truth: Store,
    true_px: ndarray,
    seen: ndarray,
    bare: tuple[int, float],
    frames: int | None,
) -> list[Figure]:
    config = Config(detection=options, engine=EngineSettings(workers=0), capture=CaptureSettings())
    place = str(root / f"{way.replace(', ', '-')}.zarr")

    def until(*stages: Stage, second_look: bool = True) -> tuple[float, Done]:
        asked = replace(config, second_look=SecondLookSettings(enabled=second_look))
        seconds, done = _seconds(lambda: run(Job(str(root), asked, stages, prune=frames, store=place), Quiet()))
        assert done is not None
        return seconds, done

    until("calibrate")
    make_detector(options)  # Loading is not counted.
    first_s, _ = until("detect")
    count, bare_s = bare
    # Grouping and triangulation are there before the second look is timed.
    until("triangulate", second_look=False)
    again_s, done = until("triangulate")
    until("fit")
    rows = [
        Figure(f"{way}: images per second of CPU", count / first_s, "1/s"),
        Figure(f"{way}: throughput", bare_s / first_s, "x bare MediaPipe", LIMITS.get(way), "higher"),
        Figure(f"{way}: throughput with the second look", bare_s / (first_s + again_s), "x bare MediaPipe"),
    ]
    for what, second in (("detected", False), ("with the second look", True)):
        error = np.linalg.norm(nearest(done.store, true_px, second) - true_px, axis=-1)
        hand = np.nan_to_num(np.median(error, axis=-1), nan=np.inf)
        both = np.all(hand <= BOTH_PX, axis=-1)[seen.all(-1)]
        rows.append(Figure(f"{way}: both hands within {BOTH_PX:g} px, {what}", 100 * float(both.mean()), "% of images"))
    return rows + figures_3d(way, done.store, truth, False)
