"""Overhead of the engine: two workers of the pipeline, compared with two plain processes that do the same work.

    python benchmarks/engine_overhead.py [--parts detect fit] [--views 50] [--frames 60] [--repeats 3] [--json FILE]

detect: both sides decode the same clips with OpenCV and call MediaPipe on every frame. fit: both sides fit the same
windows of a simulated recording. The pipeline adds Dask, the marks and Zarr. Both are timed in turns, from processes
that are started and have imported handpipe to the last result, and must find the same. A run starts its workers once,
for all its stages; how long that takes is a row of its own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path

import cv2
import numpy as np
from _report import Figure, report
from _scale_stages import fill, plans

from handpipe.capture import detect
from handpipe.capture.mediapipe.bundle import resolve
from handpipe.capture.session import content_hashes, read_session
from handpipe.capture.settings import CaptureSettings, DetectionSettings
from handpipe.core.engine import Engine, Plan, Task, limit_threads
from handpipe.core.settings import EngineSettings
from handpipe.core.storage.spec import SHORT_UNIT
from handpipe.core.storage.store import Store
from handpipe.rendering.rig import dome_rig
from handpipe.rendering.settings import SynthesisSettings
from handpipe.rendering.synthesize import synthesize
from handpipe.screen import Screen

FIT_VIEWS = 6


def bare(ready: Barrier, queue: multiprocessing.Queue, clips: list[str], model: str) -> None:
    """MediaPipe as its own examples call it, on one process's share of the clips."""
    ready.wait()
    from mediapipe import Image, ImageFormat
    from mediapipe.tasks.python import BaseOptions, vision

    cv2.setNumThreads(1)
    options = DetectionSettings()
    settings = vision.HandLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=model),
        num_hands=options.candidates,
        min_hand_detection_confidence=options.min_detection,
        min_hand_presence_confidence=options.min_presence,
    )
    found = 0
    with vision.HandLandmarker.create_from_options(settings) as landmarker:
        for clip in clips:
            capture = cv2.VideoCapture(clip, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
            while True:
                ok, image = capture.read()
                if not ok:
                    break
                rgb = np.ascontiguousarray(image[:, :, ::-1])
                found += len(landmarker.detect(Image(image_format=ImageFormat.SRGB, data=rgb)).hand_landmarks)
            capture.release()
    queue.put(found)


def time_bare(clips: list[str], model: str) -> tuple[float, int]:
    seconds, found = _in_two_processes(bare, [(clips[i::2], model) for i in range(2)])
    return seconds, int(found)


def _in_two_processes(work: Callable[..., None], shares: Sequence[tuple]) -> tuple[float, float]:
    """Seconds from when both are there to their end, and the sum of what they put into their queue."""
    context = multiprocessing.get_context("spawn")
    queue, ready = context.Queue(), context.Barrier(len(shares) + 1)
    processes = [context.Process(target=work, args=(ready, queue, *share)) for share in shares]
    for process in processes:
        process.start()
    ready.wait()
    start = time.perf_counter()
    found = sum(queue.get() for _ in processes)
    for process in processes:
        process.join()
    return time.perf_counter() - start, found


def time_pipeline(engine: Engine, root: Path, url: Path) -> tuple[float, int]:
    start = time.perf_counter()
    store = Store(str(url))
    store.open()
    session = read_session(root, CaptureSettings())
    options = DetectionSettings()
    hashes = content_hashes(store, {clip.view: clip.path for clip in session.clips} | {"model": resolve()})
    engine.execute(store, partial(detect.plan, session, options, hashes))
    seconds = time.perf_counter() - start
    return seconds, int(np.isfinite(store.read(detect.GROUP, "score")).sum())


def fit_windows(ready: Barrier, queue: multiprocessing.Queue, tasks: list[Task]) -> None:
    """The fit of one process's share of the windows, without engine and store; the sum of what it finds."""
    ready.wait()
    limit_threads()
    found = 0.0
    for task in tasks:
        for _, blocks in task.run(task.units):
            found += float(np.nansum(np.abs(blocks["joints"]), dtype=np.float64))
    queue.put(found)


def time_bare_fit(tasks: list[Task]) -> tuple[float, float]:
    return _in_two_processes(fit_windows, [(tasks[i::2],) for i in range(2)])


def time_pipeline_fit(engine: Engine, store: Store, plan: Callable[[int], Plan]) -> tuple[float, float]:
    start = time.perf_counter()
    engine.execute(store, plan, force=True)
    seconds = time.perf_counter() - start
    return seconds, float(np.nansum(np.abs(store.read("mano", "joints")), dtype=np.float64))


def turns(
    name: str, repeats: int, bare_turn: Callable[[], tuple[float, float]], turn: Callable[[Engine], tuple[float, float]]
) -> list[Figure]:
    """Both sides, one after the other, as often as asked."""
    bare_s, pipeline_s, start_s = [], [], []
    for _ in range(repeats):
        seconds, expected = bare_turn()
        bare_s.append(seconds)
        with Engine(EngineSettings(workers=2), Screen()) as engine:
            start = time.perf_counter()
            engine.cluster.calls(lambda line: None)
            start_s.append(time.perf_counter() - start)
            seconds, found = turn(engine)
        pipeline_s.append(seconds)
        assert np.isclose(found, expected, rtol=1e-6), f"{name}: both sides must find the same"
    ratios = np.array(bare_s) / np.array(pipeline_s)
    return [
        Figure(f"{name}: two processes", float(np.median(bare_s)), "s median"),
        Figure(f"{name}: two workers", float(np.median(pipeline_s)), "s median"),
        Figure(f"{name}: start of the workers", float(np.median(start_s)), "s median"),
        Figure(f"{name}: speed of the workers, all turns", sum(bare_s) / sum(pipeline_s), "x", 0.95, "higher"),
        Figure(f"{name}: speed of the workers, slowest turn", float(ratios.min()), "x"),
    ]


def detection(options: argparse.Namespace, folder: Path) -> list[Figure]:
    root = options.folder or folder / "session"
    if options.folder is None:
        made = SynthesisSettings(views=options.views, frames=options.frames, board_frames=1)
        with Engine(EngineSettings(), Screen()) as engine:
            synthesize(root, made, engine)
    clips = [str(clip.path) for clip in read_session(root, CaptureSettings()).clips]
    model = str(resolve())

    def pipeline(engine: Engine) -> tuple[float, int]:
        found = time_pipeline(engine, root, folder / "turn.zarr")
        shutil.rmtree(folder / "turn.zarr")
        return found

    return turns("detection", options.repeats, lambda: time_bare(clips, model), pipeline)


def fit(options: argparse.Namespace, folder: Path) -> list[Figure]:
    store = Store(f"{folder}/fit.zarr")
    store.open()
    fill(store, dome_rig(FIT_VIEWS), options.fit_frames)
    *before, (_, last) = plans(store).items()
    with Engine(EngineSettings(workers=2), Screen()) as engine:
        for _, plan in before:
            engine.execute(store, plan)
    tasks = list(last(SHORT_UNIT).tasks)
    bare_turn = partial(time_bare_fit, tasks)
    return turns("fit", options.repeats, bare_turn, lambda engine: time_pipeline_fit(engine, store, last))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=("detect", "fit"), default=("detect", "fit"))
    parser.add_argument("--views", type=int, default=50, help="of the session in which hands are detected")
    parser.add_argument("--frames", type=int, default=60, help="of the same")
    parser.add_argument("--fit-frames", type=int, default=4096, help="of the simulated recording that is fitted")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="an existing session to use instead of a new one")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    parts = {"detect": detection, "fit": fit}
    with tempfile.TemporaryDirectory() as temporary:
        rows = [row for part in options.parts for row in parts[part](options, Path(temporary))]
    report(f"engine overhead, {options.repeats} turns", rows, options.json)


if __name__ == "__main__":
    main()
