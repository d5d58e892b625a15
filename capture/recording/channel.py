"""One camera while it is recorded: a thread that fetches its frames, and one that encodes them."""

# Ring 2: reads and writes.

from __future__ import annotations

import math
import threading
import time
from collections import deque
from dataclasses import dataclass

from numpy import ndarray

from .accounts import NOT_CONNECTED
from .camera import Camera, CameraError, CameraGone, Format, Grabbed, SourceEnded
from .clip_file import ClipFile
from .frame_queue import FrameQueue, Kept, Lost
from .journal import DISK_FULL, Journal

READ_S = 0.2
"""A camera that delivers nothing is asked again after this."""

RETRY_S = 0.5
"""Between two attempts to reach a camera that was unplugged."""

NOT_READY = "not ready for the trigger"
TOO_SLOW = "triggered too late"
ENDED = "source ended"


@dataclass(frozen=True)
class Status:
    """How a camera does at the moment."""

    name: str
    frames: int
    """Kept so far."""
    missing: int
    """Known to be missing so far. Gaps that only the account at the end shows are counted when the next frame comes."""
    rate: float
    """Frames per second, over the last seconds."""
    queue: int
    capacity: int
    bytes: int
    state: str
    """`waiting`, `recording`, `disconnected`, `disk full` or `ended`."""


class Channel:
    """A camera, its queue, its clip and its journal."""

    def __init__(self, name: str, camera: Camera, source: Format, clip: ClipFile, journal: Journal, room: int) -> None:
        """Args: `source` is what the camera delivers, `room` the number of images that may wait."""
        self.name, self.camera, self.source, self.clip, self.journal = name, camera, source, clip, journal
        self.queue = FrameQueue(room)
        self.notes: list[str] = []
        """What happened, a sentence each."""
        self.ended = self.connected = False
        self.arrived = threading.Event()
        """The camera has delivered a frame."""
        self._run, self._last_id, self._missing = 0, -1, 0
        self._executed: deque[tuple[int, int, float]] = deque()
        """Triggers that the camera took and whose frames have not arrived: frame number, trigger, when it was given."""
        self._taken = 0
        """Triggers that the camera took in this run."""
        self._lock = threading.Lock()
        self._begin_s: float | None = None
        self._stop, self._end_s = threading.Event(), math.inf
        self._times: deque[float] = deque(maxlen=64)
        self._error = ""
        self._flushed = 0
        self._wanted: tuple[int | None, float] | None = None
        self.sample: ndarray | None = None
        """The image that was asked for last, when it is there."""
        self._threads = [threading.Thread(target=work, name=f"{name}-{work.__name__}", daemon=True)
                         for work in (self._fetch, self._encode)]  # fmt: skip

    def start(self) -> None:
        """Fetch frames, and keep none of them yet."""
        self.connected = True
        for thread in self._threads:
            thread.start()

    def begin(self, at_s: float, first_id: int | None = None, end_s: float = math.inf) -> None:
        """Keep the frames that arrive between these times. `first_id`: number of the first frame, where it is known."""
        if first_id is not None:
            self.journal.starts(0, first_id)
        self._begin_s, self._end_s = at_s, end_s

    def ready(self, until_s: float) -> bool:
        """Wait until the camera can be triggered, up to a time."""
        return self.connected and not self.ended and self.camera.ready(max(until_s - time.monotonic(), 0.0))

    def trigger(self, instant: int, ready: bool) -> tuple[float, float] | None:
        """Expose, if it is ready; returns when the command was given and when it was done, None if none was taken."""
        with self._lock:
            before_s = time.monotonic()
            if ready and self.connected and self.camera.trigger():
                after_s = time.monotonic()
                self._executed.append((self._taken, instant, (before_s + after_s) / 2))
                self._taken += 1
                return before_s, after_s
            self.skip(instant, ENDED if self.ended else NOT_READY if self.connected else NOT_CONNECTED)
            return None

    def skip(self, instant: int, reason: str) -> None:
        """Enter that there is no frame for a trigger."""
        self._missing += 1
        self.queue.put(Lost(reason, self._run, None, instant))

    def pending(self) -> int:
        """Triggers that the camera took and whose frames have not arrived."""
        with self._lock:
            return len(self._executed) if self.connected and not self.ended else 0

    def ask(self, instant: int | None, from_s: float) -> None:
        """Put the next image into `sample`: of this trigger or later, or where there are none, from this time on."""
        self.sample = None
        self._wanted = (instant, from_s)

    def stop(self, end_s: float) -> None:
        """Keep no frame that arrives after this time, and fetch no more."""
        self._end_s = end_s
        self._stop.set()

    def join(self) -> None:
        """Wait until every frame is in the clip; close the clip and the camera."""
        for thread in self._threads:
            thread.join()
        self.camera.close()

    def status(self) -> Status:
        times = list(self._times)
        recent = [each for each in times if each > time.monotonic() - 3]
        rate = (len(recent) - 1) / (recent[-1] - recent[0]) if len(recent) > 2 and recent[-1] > recent[0] else 0.0
        state = "recording" if self._begin_s is not None and self.arrived.is_set() else "waiting"
        if self._error:
            state = DISK_FULL
        elif self.ended:
            state = "ended"
        elif not self.connected:
            state = "disconnected"
        return Status(
            self.name, self.clip.encoded, self._missing, rate, self.queue.images, self.queue.capacity, self.clip.bytes,
            state,
        )  # fmt: skip

    def _fetch(self) -> None:
        try:
            while not self._stop.is_set():
                try:
                    grabbed = self.camera.read(READ_S)
                except SourceEnded:
                    self.ended = True
                    self._stop.wait()
                    continue
                except CameraGone as gone:
                    self._reconnect(str(gone))
                    continue
                if grabbed is not None:
                    self._take(grabbed)
        finally:
            self.queue.close()

    def _take(self, grabbed: Grabbed) -> None:
        self.arrived.set()
        stamp = grabbed.stamp
        with self._lock:
            gap = range(self._last_id + 1, stamp.device_id)
            instant, trigger_s = self._trigger_of(stamp.device_id)
            self._last_id = stamp.device_id
        if self._begin_s is None or not self._begin_s <= stamp.host_s <= self._end_s:
            return
        self._times.append(stamp.host_s)
        # The gap itself is entered by the account, which finds it in the numbers.
        self._missing += len(gap) if instant is not None or len(self._times) > 1 else 0
        if grabbed.image is None:
            self._missing += 1
            self.queue.put(Lost(grabbed.reason, self._run, stamp.device_id, instant))
            return
        wanted = self._wanted
        if wanted is not None and (stamp.host_s >= wanted[1] if instant is None else instant >= (wanted[0] or 0)):
            self.sample, self._wanted = grabbed.image, None
        if not self.queue.put(Kept(stamp, grabbed.image, self._run, instant, trigger_s)):
            self._missing += 1

    def _trigger_of(self, device_id: int) -> tuple[int | None, float | None]:
        """Trigger that a frame belongs to, and when it was given; those before it have lost their frames."""
        while self._executed and self._executed[0][0] <= device_id:
            number, instant, trigger_s = self._executed.popleft()
            if number == device_id:
                return instant, trigger_s
        return None, None

    def _reconnect(self, why: str) -> None:
        """Wait for a camera that is gone; its frames count from 0 again."""
        with self._lock:
            self.connected = False
            for _, instant, _ in self._executed:
                self.skip(instant, NOT_CONNECTED)
            self._executed.clear()
            self._taken = 0
        gone_s = time.monotonic()
        self.notes.append(f"{self.name}: the camera was disconnected ({why})")
        while not self._stop.wait(RETRY_S):
            try:
                self.camera.close()
                self.camera.open()
                self.camera.arm()
            except (CameraError, CameraGone):
                continue
            with self._lock:
                self._run, self._last_id, self.connected = self._run + 1, -1, True
            self.notes.append(f"{self.name}: the camera was connected again after {time.monotonic() - gone_s:.1f} s")
            return

    def _encode(self) -> None:
        while (item := self.queue.get()) is not None:
            try:
                self._write(item)
            except OSError as error:
                self._fail(error)
        for finish in (self.clip.abandon if self._error else self.clip.close, self._close_journal):
            try:
                finish()
            except OSError as error:
                self._fail(error)

    def _close_journal(self) -> None:
        self.journal.flush(self.clip.safe)
        self.journal.close()

    def _write(self, item: Kept | Lost) -> None:
        if isinstance(item, Lost):
            self.journal.lost(item)
        elif self._error:
            self.journal.lost(Lost(DISK_FULL, item.run, item.stamp.device_id, item.instant))
            self._missing += 1
        else:
            try:
                self.clip.write(item.image)
            except OSError:
                self.journal.lost(Lost(DISK_FULL, item.run, item.stamp.device_id, item.instant))
                self._missing += 1
                raise
            self.journal.frame(item)
            if self.clip.safe > self._flushed:
                self._flushed = self.clip.safe
                self.journal.flush(self.clip.safe)

    def _fail(self, error: OSError) -> None:
        """The disk refuses. What is on it stays; what comes is entered as missing."""
        if not self._error:
            self._error = error.strerror or str(error)
            self.notes.append(f"{self.name}: the disk refused to write ({self._error}); the clip ends there")
            for lost in self.journal.unsafe():
                self._missing += lost.count
                self.journal.lost(lost)
