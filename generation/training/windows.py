"""Windows of training motion. The windows of a step depend only on (seed, step), so resuming needs no state."""

# Ring 2: reads and writes.

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy import ndarray

from ...core.errors import GenerationError
from ...core.hands import HANDS, NUM_BETAS
from ...hand.stored_motion import COLUMNS, WIDTH, place
from ..settings import MIN_WINDOW
from .motion_sources import CACHE_BYTES, MotionSource, clip_names, few, read_sources

SHORTEN = "Use --training.window {} or less"
"""How windows become shorter, as errors advise it."""

SAME_RATE = 0.005
"""Rates whose ratio is this near to a whole number are taken for it: 29.97 for 30, 119.88 for four times 30."""


@dataclass(frozen=True, eq=False)
class WindowBatch:
    """MANO parameters of some windows, as recorded; float32, smplx's conventions, metres and radians."""

    betas: ndarray
    """(window, hand, 10)"""
    global_orient: ndarray
    """(window, frame, hand, 3)"""
    hand_pose: ndarray
    """(window, frame, hand, 45)"""
    transl: ndarray
    """(window, frame, hand, 3)"""
    source: ndarray
    """(window,) index into the sources."""
    start: ndarray
    """(window,) the first frame, in the source's own frames."""
    mirror: ndarray
    """(window,) bool: drawn to be shown in the mirror; the numbers here are as recorded."""


def open_sources(
    names: Sequence[str],
    fps: float,
    window: int,
    hand_model: str | None,
    cache_bytes: int = CACHE_BYTES,
    shorten: str = SHORTEN,
) -> list[MotionSource]:
    """Open all sources of training motion. Every frame is checked once; none is kept in memory.

    Args:
        names: each a session folder, a Zarr store or URL with a `mano` group (every sample of generated motion is a
            source), `procedural:N` (N clips of the procedural hands, six seconds each at `fps`) or `contact:N` (N
            episodes of contact of these hands, four seconds each); without a number, 256 and 208.
        fps: frames per second that windows will have.
        window: frames they will have.
        hand_model: folder of the model in use; None for the procedural hand.
        cache_bytes: how much of the motion may be in memory at once.
        shorten: advice of the error where there is no window, with {} for the number of frames.

    Raises:
        GenerationError: no such source, no fitted hands in it, other hand models than the one in use, or no window in
            any of the sources.
        ModelError: no hand model in the folder.
        StoreError: a store cannot be read.
    """
    sources = read_sources(names, fps, hand_model, cache_bytes)
    Windows(sources, window, fps, shorten)
    return sources


def split(sources: Sequence[MotionSource], held_out: Sequence[str]) -> tuple[list[MotionSource], list[MotionSource]]:
    """Split sources into training and validation. Whole sources are held out, because neighbouring windows overlap.

    Args:
        sources: all of them.
        held_out: names as given to `open_sources`; all samples of a file are held out together, `procedural:8` are the
            first eight procedural clips, `contact:8` the first episodes.

    Raises:
        GenerationError: a name is not among the sources, or no source is left for training.
    """
    places = {place(source.origin) for source in sources}
    wanted: set[str] = set()
    for name in held_out:
        clips = [place(clip) for clip in clip_names(name)]
        found = places.intersection(clips or [place(name)])
        if not found:
            origins = list(dict.fromkeys(source.origin for source in sources))
            raise GenerationError(
                f"{name}: expected to hold out one of the sources ({few(origins)}), but it is not among them. "
                "Write it as in the list of sources, or add it to them."
            )
        wanted |= found
    learn = [source for source in sources if place(source.origin) not in wanted]
    if not learn:
        raise GenerationError(
            f"held out: expected at least one source for training, but all of them are held out ({few(held_out)}). "
            "Hold out fewer, or add sources."
        )
    return learn, [source for source in sources if place(source.origin) in wanted]


@dataclass(frozen=True, eq=False)
class _Grid:
    """The frames of a source in a window, relative to its first."""

    lower: ndarray
    """(frame,) the recorded frame at or before each of the window's."""
    upper: ndarray
    """(frame,) the one after it, or the same."""
    share: ndarray
    """(frame,) how much of the upper one."""

    @staticmethod
    def of(source_fps: float, fps: float, frames: int) -> _Grid:
        ratio = source_fps / fps
        whole = max(1, round(ratio))
        if abs(ratio / whole - 1) <= SAME_RATE:
            ratio = whole
        at = np.arange(frames) * ratio
        lower = np.floor(at + 1e-9).astype(np.int64)
        share = np.clip(at - lower, 0.0, 1.0)
        share[share < 1e-6] = 0.0
        return _Grid(lower, lower + (share > 0), share)

    def starts(self, valid: ndarray) -> ndarray:
        """Frames at which a window may begin: all from its first to its last are valid, also those it leaves out."""
        span = int(self.upper[-1]) + 1
        seen = np.concatenate([[0], np.cumsum(valid)])
        return np.flatnonzero(seen[span:] - seen[: len(seen) - span] == span) if span < len(seen) else np.empty(0, int)

    def read(self, source: MotionSource, start: int) -> ndarray:
        """(frame, hand, WIDTH) float32."""
        lower = source.take(start + self.lower)
        if not self.share.any():
            return lower
        return _between(lower, source.take(start + self.upper), self.share)


def _between(lower: ndarray, upper: ndarray, share: ndarray) -> ndarray:
    """Rotations along the shorter arc, positions along the line; the arrays are (frame, hand, WIDTH)."""
    split_at = COLUMNS["transl"].start
    shares = np.broadcast_to(share[:, None, None], (*lower.shape[:2], split_at // 3))
    start, end = (part[..., :split_at].reshape(*shares.shape, 3).astype(np.float64) for part in (lower, upper))
    out = (1 - share[:, None, None]) * lower + share[:, None, None] * upper
    out[..., :split_at] = slerp(start, end, shares).reshape(*lower.shape[:2], -1)
    return out.astype(np.float32)


def slerp(start: ndarray, end: ndarray, share: ndarray) -> ndarray:
    """Part of the way from one rotation to another along the shorter arc (Shoemake 1985), ten times as fast as scipy's.

    Args:
        start, end: (..., 3) axis-angle, radians, of any angle.
        share: (...) 0 to 1.

    Returns:
        (..., 3) axis-angle of at most pi.
    """
    (w0, v0), (w1, v1) = _quaternion(start), _quaternion(end)
    dot = w0 * w1 + np.einsum("...i,...i", v0, v1)
    angle = np.arccos(np.minimum(np.abs(dot), 1.0))
    # Quotients of sines as sinc: nothing to divide by zero, as the angle is at most a right one.
    whole = np.sinc(angle / np.pi)
    a = (1 - share) * np.sinc((1 - share) * angle / np.pi) / whole
    b = np.copysign(share, dot) * np.sinc(share * angle / np.pi) / whole
    w, v = a * w0 + b * w1, a[..., None] * v0 + b[..., None] * v1
    half = np.arctan2(np.linalg.norm(v, axis=-1), np.abs(w))
    return (np.copysign(2.0, w) / np.sinc(half / np.pi))[..., None] * v


def _quaternion(rotvec: ndarray) -> tuple[ndarray, ndarray]:
    """The real part (...) and the others (..., 3)."""
    half = 0.5 * np.linalg.norm(rotvec, axis=-1)
    return np.cos(half), 0.5 * np.sinc(half / np.pi)[..., None] * rotvec


class Windows:
    """Every window in the sources in which both hands are valid throughout, at every start.

    A source at a whole multiple of the rate is thinned out, with a window for every phase (from 120 to 30 frames per
    second there are four); at any other rate it is interpolated, with a window from every recorded frame.
    """

    def __init__(self, sources: Sequence[MotionSource], frames: int, fps: float, shorten: str = SHORTEN) -> None:
        """Raises GenerationError if there is none, as `open_sources` does."""
        self.sources, self.frames, self.fps = list(sources), frames, fps
        self._grids = [_Grid.of(source.fps, fps, frames) for source in sources]
        self._starts = [grid.starts(source.valid) for grid, source in zip(self._grids, sources, strict=True)]
        self.counts = np.array([len(starts) for starts in self._starts], np.int64)
        """(source,) windows in each; 0 where a source is too short or too full of gaps."""
        if not self.counts.sum():
            raise GenerationError(self._none(shorten))

    def __len__(self) -> int:
        return int(self.counts.sum())

    def batch(self, seed: int, step: int, size: int) -> WindowBatch:
        """The windows of one step. In every epoch each is drawn once, in an order of its own.

        Args:
            seed: of the order and the mirror.
            step: 0, 1, ...
            size: windows in a step.
        """
        position = np.arange(step * size, (step + 1) * size)
        epoch, rank = np.divmod(position, len(self))
        index = np.empty(size, np.int64)
        for each in np.unique(epoch):
            here = epoch == each
            index[here] = _permutation(len(self), seed, int(each))[rank[here]]
        return self._read(index, _hash(f"mirror/{seed}", position) >> np.uint64(63) == 1)

    def every(self, stride: int, size: int = 64) -> Iterator[WindowBatch]:
        """Windows in order, `size` at a time: in each source the next is `stride` frames after the last, or the first
        there is after that; 0 is all of them. Not mirrored."""
        index = []
        for offset, starts, source in zip(self._offsets, self._starts, self.sources, strict=True):
            apart = stride * source.fps / self.fps
            at = 0
            while at < len(starts):
                index.append(offset + at)
                at = max(at + 1, int(np.searchsorted(starts, starts[at] + apart - 0.5)))
        chosen = np.array(index)
        for first in range(0, len(chosen), size):
            part = chosen[first : first + size]
            yield self._read(part, np.zeros(len(part), bool))

    def at(self, start: int) -> WindowBatch:
        """The window of the first source that begins in one of its frames.

        Raises:
            GenerationError: none does.
        """
        starts = self._starts[0]
        index = int(np.searchsorted(starts, start))
        if index == len(starts) or starts[index] != start:
            source = self.sources[0]
            raise GenerationError(
                f"{source.name}: expected both hands in {self.frames} frames at {self.fps:g} fps from frame {start}, "
                f"but they are not in all of them (it has {source.frames} at {source.fps:g} fps). Give another frame."
            )
        return self._read(np.array([index]), np.zeros(1, bool))

    @cached_property
    def _offsets(self) -> ndarray:
        """(source,) number of windows in the sources before."""
        return np.cumsum(self.counts) - self.counts

    def _read(self, index: ndarray, mirror: ndarray) -> WindowBatch:
        source = np.searchsorted(self._offsets + self.counts, index, side="right")
        start = np.array([self._starts[s][i - self._offsets[s]] for s, i in zip(source, index, strict=True)])
        numbers = np.empty((len(index), self.frames, len(HANDS), WIDTH), np.float32)
        betas = np.empty((len(index), len(HANDS), NUM_BETAS), np.float32)
        for row in np.lexsort((start, source)):  # in the order in which they lie on disk
            s = source[row]
            numbers[row] = self._grids[s].read(self.sources[s], int(start[row]))
            betas[row] = self.sources[s].betas
        return WindowBatch(
            betas=betas,
            **{name: numbers[..., columns] for name, columns in COLUMNS.items()},
            source=source,
            start=start,
            mirror=mirror,
        )

    def _none(self, shorten: str) -> str:
        longest = [self._longest(source) for source in self.sources]
        best = int(np.argmax(longest))
        source = self.sources[best]
        which = f"{source.name}" + (f" (the best of {len(longest)} sources)" if len(longest) > 1 else "")
        if longest[best] >= MIN_WINDOW:
            todo = f"{shorten.format(longest[best])}, or add longer recordings."
        elif source.valid.all():
            todo = f"Add longer recordings: a window has {MIN_WINDOW} frames or more."
        else:
            todo = f"Both hands are valid in {int(source.valid.sum())} frames (`mano/valid`): record or fit them again."
        return (
            f"{which}: expected {self.frames} frames at {self.fps:g} fps with both hands in all of them, but of its "
            f"{source.frames} frames at {source.fps:g} fps the longest such run gives {longest[best]}. {todo}"
        )

    def _longest(self, source: MotionSource) -> int:
        """Frames, at the windows' rate, in the longest run with both hands."""
        ends = np.flatnonzero(np.diff(np.concatenate([[0], source.valid, [0]]).astype(np.int8)))
        if not len(ends):
            return 0
        run = int((ends[1::2] - ends[::2]).max())
        return int((_Grid.of(source.fps, self.fps, int(run * self.fps / source.fps) + 2).upper < run).sum())


def _hash(key: str, index: ndarray) -> ndarray:
    """64 random bits for each index: SplitMix64 (Steele et al. 2014) from a hash of the key. The same on any machine
    and with any version of numpy."""
    seed = np.frombuffer(hashlib.sha256(key.encode()).digest()[:8], "<u8")
    z = seed + (index.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@lru_cache(maxsize=2)
def _permutation(count: int, seed: int, epoch: int) -> ndarray:
    return np.argsort(_hash(f"order/{seed}/{epoch}", np.arange(count)), kind="stable")
