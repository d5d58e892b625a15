"""The examination: a sample of a session's clips, decoded and looked at by threads, and every finding about it."""

# Ring 2: reads and writes.

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..calibration.board import is_usable
from ..calibration.cameras_toml import supplied_cameras
from ..calibration.quality_gate import Judge
from ..calibration.stage import FILE_ADVICE, ReadCameras
from ..capture.installed import make_detector
from ..capture.session import content_hashes
from ..core.cameras import Cameras
from ..core.cameras_file import match_views, read_cameras, unlike_views
from ..core.cluster.local import cpu_count
from ..core.engine import Progress
from ..core.errors import HandpipeError, ModelError
from ..core.quality import Check
from ..core.recording import Session
from ..core.storage.schema import imported
from ..core.storage.store import Store
from ..exchange.keypoints2d import session as import2d
from ..settings import Config
from .board import joined, rig_checks, sightings_of, solve_rig, visibility
from .clips import clip_checks, look_at, simultaneous, window
from .earlier import earlier_checks
from .findings import fine, told, worse
from .hands import HandLook, hand_checks, image_ms, length_check, look_for_hands
from .machine import Speed, detector_checks, memory_check, model_checks, room_checks, time_check
from .recorded import recording_checks
from .recording import open_session

ORDER = {"error": 0, "warning": 1, "ok": 2}


@dataclass
class Examination:
    """One session under examination."""

    root: Path
    config: Config
    store: Store
    """With the results of earlier runs, if there are any; it is only read."""
    progress: Progress
    _left: int = 0
    """Clips that the progress bar waits for; some are looked at twice."""
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(cpu_count()))

    def checks(self) -> list[Check]:
        """Every finding, the worst first.

        Raises:
            SessionError: it is no session.
        """
        found = list(self._all())
        return sorted(found, key=lambda check: ORDER[check.severity])

    def _all(self) -> Iterator[Check]:
        if not (self.root / "videos").is_dir() and (import2d.imported(self.store) or imported(self.store)):
            yield fine("clips", "none: the detections or keypoints of this session were imported")
            yield from earlier_checks(self.store)
            yield from model_checks(self.config)
            return
        opened = open_session(self.root, self.config)
        yield from opened.checks
        yield from recording_checks(self.root)
        yield from model_checks(self.config)
        detector, checks = detector_checks(self.config)
        yield from checks
        if opened.session is not None:
            with _one_thread_each(), self._pool:
                yield from self._look(opened.session, detector is not None)
        yield from earlier_checks(self.store)

    def _look(self, session: Session, detect: bool) -> Iterator[Check]:
        supplied, cameras, supplied_checks = self._supplied(session)
        boards = () if supplied else session.board_clips
        self._left = len(session.clips) * (1 + detect) + len(boards)
        self.progress.start("doctor", self._left, 0, "clips")
        try:
            hands = window(session.clips, session.timeline)
            rows = session.timeline.source_frame[:, hands]
            start, board_ms = time.perf_counter(), float("nan")
            found = solving = None
            if boards:
                found = sightings_of(session, self.config, self._apply)
                board_ms = 1e3 * (time.perf_counter() - start) * cpu_count() / max(int(found.looked.sum()), 1)
                # The calibration takes one core; the clips and the hands in them are looked at on the others meanwhile.
                solving = self._pool.submit(solve_rig, session, self.config, found)
                yield from visibility(session, self.config, found)
                seen = is_usable(self.config.board, found.corners_px)
                if (check := joined(list(session.board_clips), seen)) is not None:
                    yield check
            looks = dict(zip(session.views, self._apply(look_at, session.clips, rows), strict=True))
            hand_looks, failed = self._hands(session) if detect else ({}, ())
            yield from supplied_checks
            if found is not None and solving is not None:
                rig = solving.result()
                cameras = rig.cameras
                yield from rig_checks(session, self.config, found, rig)
        finally:
            self.progress.stop()
        yield from clip_checks(looks)
        yield from simultaneous(looks, session.fps)
        yield from failed
        yield from hand_checks(hand_looks) if hand_looks else ()
        if cameras is not None and (check := length_check(hand_looks, cameras)) is not None:
            yield check
        yield from room_checks(session, self.store.url)
        yield memory_check(session, self.config)
        yield time_check(session, self.config, Speed(board_ms, image_ms(hand_looks)))

    def _apply(self, function: Callable[..., Any], *arguments: Iterable[Any]) -> Iterator[Any]:
        """`map` by threads, in order; the progress bar counts what is done."""
        for result in self._pool.map(function, *arguments):
            self._advance()
            yield result

    def _advance(self) -> None:
        if self._left > 0:
            self._left -= 1
            self.progress.advance(1)

    def _hands(self, session: Session) -> tuple[dict[str, HandLook], tuple[Check, ...]]:
        """A sample of detections, in this thread: detectors need not bear several."""
        looks = {}
        try:
            detect = make_detector(self.config.detection).detect
            for clip, source in zip(session.clips, session.timeline.source_frame, strict=True):
                looks[clip.view] = look_for_hands(detect, clip, source)
                self._advance()
        except ModelError as error:
            return looks, (told("detector", "error", str(error)),)
        return looks, ()

    def _supplied(self, session: Session) -> tuple[bool, Cameras | None, list[Check]]:
        """Whether a cameras.toml came with the session, its cameras, and what the rules for it say."""
        path = self.root / "cameras.toml"
        clips = {f"{clip.path.parent.name}/{clip.path.name}": clip.path for clip in session.board_clips.values()}
        try:
            hashes = content_hashes(self.store, clips, remember=False) if path.exists() else {}
            if supplied_cameras(session, self.store, hashes) is None:
                return False, None, []
            sizes = np.array([clip.size_px for clip in session.clips])
            judge = Judge(str(path), self.config.capture.dead_views, FILE_ADVICE, self.config.calibration)
            for _ in ReadCameras(path, session.views, sizes, judge).run(((0,),)):
                pass
            cameras = read_cameras(path)
            unlike = unlike_views(path, cameras.names, [*session.views, *session.left_out])
        except HandpipeError as error:
            return True, None, [told("cameras", "error", str(error))]
        good = fine("cameras", f"{path.name}: {len(cameras)} cameras; the board is not needed")
        return True, match_views(cameras, session.views, sizes), [*worse("cameras", unlike)] or [good]


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """OpenCV in one thread for each of ours."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
