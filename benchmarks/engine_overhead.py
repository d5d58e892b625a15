"""Overhead of the engine: detection through the pipeline, compared with bare MediaPipe in two plain processes.

    python benchmarks/engine_overhead.py [--views 50] [--frames 60] [--repeats 3] [--json FILE]

Both sides decode the same clips with OpenCV and call the same model on every frame, on two processes; the pipeline adds
Dask, the journal and Zarr. Both are timed in turns, from starting the processes to the last detection.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import tempfile
import time
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from _report import Figure, report

from handpipe.capture import detect
from handpipe.capture.mediapipe_model import resolve
from handpipe.capture.session import content_hashes, read_session
from handpipe.capture.settings import CaptureSettings, DetectionSettings
from handpipe.core.engine import Engine
from handpipe.core.settings import EngineSettings
from handpipe.core.storage.store import Store
from handpipe.rendering.settings import SynthesisSettings
from handpipe.rendering.synthesize import synthesize
from handpipe.screen import Screen


def bare(clips: list[str], model: str, queue: multiprocessing.Queue) -> None:
    """MediaPipe as its own examples call it, on one process's share of the clips."""
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
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    start = time.perf_counter()
    processes = [context.Process(target=bare, args=(clips[i::2], model, queue)) for i in range(2)]
    for process in processes:
        process.start()
    found = sum(queue.get() for _ in processes)
    for process in processes:
        process.join()
    return time.perf_counter() - start, found


def time_pipeline(root: Path, url: Path) -> tuple[float, int]:
    start = time.perf_counter()
    store = Store(str(url))
    store.open()
    session = read_session(root, CaptureSettings())
    options = DetectionSettings()
    hashes = content_hashes(store, {clip.view: clip.path for clip in session.clips} | {"model": resolve()})
    with Engine(EngineSettings(workers=2), Screen()) as engine:
        engine.execute(store, partial(detect.plan, session, options, hashes))
    seconds = time.perf_counter() - start
    return seconds, int(np.isfinite(store.read(detect.GROUP, "score")).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--views", type=int, default=50)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="an existing session to use instead of a new one")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = options.folder or Path(temporary) / "session"
        if options.folder is None:
            made = SynthesisSettings(views=options.views, frames=options.frames, board_frames=1)
            with Engine(EngineSettings(), Screen()) as engine:
                synthesize(root, made, engine)
        clips = [str(clip.path) for clip in read_session(root, CaptureSettings()).clips]
        model = str(resolve())
        bare_s, pipeline_s, bare_found = [], [], 0
        for turn in range(options.repeats):
            seconds, bare_found = time_bare(clips, model)
            bare_s.append(seconds)
            url = Path(temporary) / f"{turn}.zarr"
            seconds, pipeline_found = time_pipeline(root, url)
            pipeline_s.append(seconds)
            assert bare_found == pipeline_found, "both sides must find the same hands"
            shutil.rmtree(url)
        ratios = np.array(pipeline_s) / np.array(bare_s)
        rows = [
            Figure("bare MediaPipe, two processes", float(np.median(bare_s)), "s median"),
            Figure("through the pipeline, two workers", float(np.median(pipeline_s)), "s median"),
            Figure("ratio, total of all turns", sum(pipeline_s) / sum(bare_s), "x", 1.10),
            Figure("ratio, largest of all turns", float(ratios.max()), "x"),
            Figure("hands found by both", bare_found, "hands"),
        ]
        report(f"engine overhead: {len(clips)} clips, {options.repeats} turns", rows, options.json)


if __name__ == "__main__":
    main()
