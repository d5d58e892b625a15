"""The queue is bounded, and what does not fit is entered."""

from __future__ import annotations

import numpy as np

from handpipe.capture.recording.camera import FrameStamp
from handpipe.capture.recording.frame_queue import QUEUE_FULL, FrameQueue, Kept, Lost

IMAGE = np.zeros((2, 2), np.uint8)


def kept(number, instant=None, run=0):
    return Kept(FrameStamp(number, float(number)), IMAGE, run, instant)


def drained(queue):
    queue.close()
    found = []
    while (item := queue.get()) is not None:
        found.append(item)
    return found


def test_frames_that_do_not_fit_become_one_entry():
    queue = FrameQueue(3)
    assert [queue.put(kept(n, instant=n + 7)) for n in range(1000)] == [True] * 3 + [False] * 997
    *images, lost = drained(queue)
    assert [item.stamp.device_id for item in images] == [0, 1, 2]
    assert lost == Lost(QUEUE_FULL, 0, 3, 10, 997)
    assert queue.most == 3


def test_entries_are_joined_only_when_they_follow():
    queue = FrameQueue(1)
    for item in (Lost("a", 0, 1, None), Lost("a", 0, 2, None), Lost("a", 0, 4, None), Lost("b", 0, 5, None)):
        assert queue.put(item)
    queue.put(Lost("b", 1, 6, None))
    assert [(item.device_id, item.count) for item in drained(queue)] == [(1, 2), (4, 1), (5, 1), (6, 1)]


def test_order_is_kept_and_room_comes_back():
    queue = FrameQueue(1)
    assert queue.put(kept(0))
    assert not queue.put(kept(1))
    assert isinstance(queue.get(), Kept)
    assert queue.put(kept(2))
    assert [type(item).__name__ for item in drained(queue)] == ["Lost", "Kept"]
