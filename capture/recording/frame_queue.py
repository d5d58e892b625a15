"""The queue between a camera and its encoder: a fixed number of images, and every one that did not fit as an entry."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, replace

from numpy import ndarray

from .camera import FrameStamp

QUEUE_FULL = "queue full"


@dataclass(frozen=True)
class Kept:
    """A frame to encode."""

    stamp: FrameStamp
    image: ndarray
    run: int
    """Number of times that the camera was connected before."""
    instant: int | None = None
    """Trigger that it belongs to; None where handpipe does not trigger."""
    trigger_s: float | None = None
    """When that was, `time.monotonic`."""


@dataclass(frozen=True)
class Lost:
    """Frames that are known to be missing, one after the other."""

    reason: str
    run: int
    device_id: int | None
    """Of the first, where it is known."""
    instant: int | None
    """The same, of the trigger."""
    count: int = 1

    def with_next(self, other: Lost) -> Lost | None:
        """Both in one, if the other follows at once; None if not."""
        follows = (
            (self.reason, self.run) == (other.reason, other.run)
            and _follows(self.device_id, other.device_id, self.count)
            and _follows(self.instant, other.instant, self.count)
        )
        return replace(self, count=self.count + other.count) if follows else None


def _follows(first: int | None, other: int | None, count: int) -> bool:
    return other is None if first is None else other == first + count


class FrameQueue:
    """Frames on their way to the encoder. Its memory is bounded: images by number, and losses in a row are one item."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.images = self.most = 0
        """Images that wait now, and that waited at the same time at the most."""
        self._items: deque[Kept | Lost] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, item: Kept | Lost) -> bool:
        """Add an item. False if there was no room for its image: then its loss is in the queue instead."""
        with self._changed:
            fits = isinstance(item, Lost) or self.images < self.capacity
            if isinstance(item, Kept):
                if fits:
                    self.images += 1
                    self.most = max(self.most, self.images)
                else:
                    item = Lost(QUEUE_FULL, item.run, item.stamp.device_id, item.instant)
            before = self._items[-1] if self._items else None
            joined = before.with_next(item) if isinstance(before, Lost) and isinstance(item, Lost) else None
            if joined is not None:
                self._items[-1] = joined
            else:
                self._items.append(item)
            self._changed.notify()
            return fits

    def get(self) -> Kept | Lost | None:
        """The next item, waiting for it; None once the queue is closed and empty."""
        with self._changed:
            while not self._items and not self._closed:
                self._changed.wait()
            if not self._items:
                return None
            item = self._items.popleft()
            self.images -= isinstance(item, Kept)
            return item

    def close(self) -> None:
        """Nothing more is put in."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
