"""Sources of training motion (fitted sessions, generated motion, clips that are made here), read in blocks."""

# Ring 2: reads and writes.

from __future__ import annotations

import hashlib
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy import ndarray

from ...core.errors import GenerationError
from ...core.hands import HANDS
from ...core.storage.store import Store
from ...hand.loading import hand_models
from ...hand.procedural_motion import two_hand_motion
from ...hand.stored_motion import COLUMNS, WIDTH, motion_store, place, stored_motion
from .contact_motion import BLOCK, block_of_episodes
from .contact_plans import EPISODE_S

BLOCK_FRAMES = 1024
"""Frames that are read at once, or more where a chunk of the store is longer."""

CACHE_BYTES = 1 << 29
"""Size of the block cache of all sources opened together, bytes: 1.3 million frames."""

PROCEDURAL, CONTACT = "procedural", "contact"
CLIPS = {PROCEDURAL: 256, CONTACT: 208}
"""The kinds of clips that are made here, and how many of them without a number."""
CLIP_S = {PROCEDURAL: 6.0, CONTACT: EPISODE_S}
"""Length of a clip: two whole cycles of approach, touch, cross and part; one contact."""


class BlockCache:
    """The blocks used last, up to a number of bytes; safe to share between threads."""

    def __init__(self, limit_bytes: int = CACHE_BYTES) -> None:
        self.limit_bytes, self.bytes = limit_bytes, 0
        self._blocks: OrderedDict[Hashable, ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, load: Callable[[], ndarray]) -> ndarray:
        """The block of a key, loaded if it is not there; it may be larger than the limit."""
        with self._lock:
            if key in self._blocks:
                self._blocks.move_to_end(key)
                return self._blocks[key]
            block = load()
            block.flags.writeable = False
            self._blocks[key] = block
            self.bytes += block.nbytes
            while self.bytes > self.limit_bytes and len(self._blocks) > 1:
                self.bytes -= self._blocks.popitem(last=False)[1].nbytes
            return block


@dataclass(frozen=True, eq=False)
class MotionSource:
    """One continuous recording of both hands of one person. Nothing of it but `valid` stays in memory."""

    name: str
    """Name for messages; unique among the sources opened together."""
    origin: str
    """The unit of the split into training and validation: the session or file; clips made here are separate units."""
    fps: float
    """Frames per second of the recording."""
    hand_model: tuple[str, str]
    """Ids of the left and right model that its numbers are for."""
    frames: int
    valid: ndarray
    """(frame,) bool: both hands supported by observations, and every number finite."""
    block_frames: int
    load: Callable[[int, int], ndarray]
    """(start, stop) to (frame, hand, WIDTH) float32."""
    load_betas: Callable[[], ndarray]
    cache: BlockCache
    digest: str = ""
    """Of all that is learnt from it: its frames' numbers, which of them are valid, its hands and its rate. Empty for a
    clip made here, which its name, its rate and the version of the code determine."""

    @property
    def betas(self) -> ndarray:
        """(hand, 10) float32."""
        return self.cache.get((self.name, "betas"), lambda: self.load_betas().astype(np.float32))

    def take(self, frames: ndarray) -> ndarray:
        """Some frames, in any order: (frame, hand, WIDTH) float32, columns as in COLUMNS."""
        out = np.empty((len(frames), len(HANDS), WIDTH), np.float32)
        blocks = frames // self.block_frames
        for block in np.unique(blocks):
            here = blocks == block
            out[here] = self._block(int(block))[frames[here] - block * self.block_frames]
        return out

    def read(self, start: int, stop: int) -> dict[str, ndarray]:
        """Frames start..stop-1 as they were recorded: global_orient (frame, hand, 3), hand_pose (frame, hand, 45) and
        transl (frame, hand, 3), float32; NaN where a hand is not known."""
        numbers = self.take(np.arange(start, min(stop, self.frames)))
        return {name: numbers[..., columns] for name, columns in COLUMNS.items()}

    def _block(self, index: int) -> ndarray:
        start = index * self.block_frames
        stop = min(start + self.block_frames, self.frames)
        return self.cache.get((self.name, index), lambda: self.load(start, stop))


def read_sources(names: Sequence[str], fps: float, hand_model: str | None, cache_bytes: int) -> list[MotionSource]:
    """The sources of these names, checked but for their windows; arguments and errors as for `windows.open_sources`."""
    cache = BlockCache(cache_bytes)
    sources: list[MotionSource] = []
    for kind in CLIPS:  # the clips of procedural:8 are among procedural:64's
        count = max((len(clip_names(name)) for name in names if name.partition(":")[0] == kind), default=0)
        sources += _made(kind, count, fps, cache)
    stored: dict[str, str] = {}
    for name in names:
        if not clip_names(name):
            stored.setdefault(place(name), name)
    for name in stored.values():
        sources += _stored(name, motion_store(name), cache)
    if not sources:
        raise GenerationError("expected motion to train on, but no source is given. Give a session, or `procedural`.")
    _check_hand_models(sources, hand_model)
    return sources


def clip_names(name: str) -> list[str]:
    """Names of the clips of a source such as `procedural:8` or `contact`; none for other sources.

    Raises:
        GenerationError: what follows the colon is not a number.
    """
    kind, colon, number = name.partition(":")
    if kind not in CLIPS:
        return []
    if colon and not re.fullmatch(r"[1-9][0-9]{0,6}", number):
        raise GenerationError(
            f"{name}: expected a number of clips after the colon, 1 to 9999999, but got '{number}'. "
            f"Write, for example, {kind}:{CLIPS[kind]}."
        )
    return [f"{kind}/{seed}" for seed in range(int(number) if colon else CLIPS[kind])]


def _made(kind: str, clips: int, fps: float, cache: BlockCache) -> list[MotionSource]:
    """The first clips of a kind."""
    frames = max(2, round(CLIP_S[kind] * fps))
    made = {PROCEDURAL: _clip, CONTACT: _episode}[kind]
    left, right = hand_models(None)

    return [
        MotionSource(
            name=f"{kind}/{seed}",
            origin=f"{kind}/{seed}",
            fps=fps,
            hand_model=(left.model_id, right.model_id),
            frames=frames,
            valid=np.ones(frames, bool),
            block_frames=frames,
            load=lambda start, stop, seed=seed: made(frames, fps, seed)[0][start:stop].copy(),
            load_betas=lambda seed=seed: made(frames, fps, seed)[1],
            cache=cache,
        )
        for seed in range(clips)
    ]


@lru_cache(maxsize=1)
def _clip(frames: int, fps: float, seed: int) -> tuple[ndarray, ndarray]:
    """A procedural clip's numbers and betas, made in 50 ms; kept only until both are in the block cache."""
    clip = two_hand_motion(frames, fps, seed)
    return np.concatenate([getattr(clip, name) for name in COLUMNS], axis=-1, dtype=np.float32), clip.betas


def _episode(frames: int, fps: float, seed: int) -> tuple[ndarray, ndarray]:
    """The same of an episode of contact."""
    numbers, betas = _episodes(fps, seed // BLOCK)[seed % BLOCK]
    assert len(numbers) == frames
    return numbers, betas


@lru_cache(maxsize=2)
def _episodes(fps: float, block: int) -> list[tuple[ndarray, ndarray]]:
    """A block of them, made in some seconds; kept only until all are in the block cache."""
    return [
        (np.concatenate([each.arrays[name] for name in COLUMNS], axis=-1, dtype=np.float32), each.arrays["betas"])
        for each in block_of_episodes(block, fps)
    ]


def _stored(name: str, store: Store, cache: BlockCache) -> list[MotionSource]:
    motion = stored_motion(name, store)
    chunk = store.attrs("mano").get("chunk_frames") or BLOCK_FRAMES
    block_frames = max(1, BLOCK_FRAMES // chunk) * chunk
    samples, frames = motion.valid.shape[:2]
    sources = []
    for sample in range(samples):
        valid = motion.valid[sample].all(axis=-1)
        source = MotionSource(
            name=f"{name}[{sample}]" if motion.sampled else name,
            origin=name,
            fps=motion.fps,
            hand_model=motion.hand_model,
            frames=frames,
            valid=valid,
            block_frames=block_frames,
            load=lambda start, stop, sample=sample: motion.load(sample, start, stop),
            load_betas=lambda sample=sample: motion.betas[sample],
            cache=cache,
        )
        sources.append(replace(source, digest=_check_frames(source)))
    return sources


def _check_frames(source: MotionSource) -> str:
    """Mark the frames with a number that is not finite as not valid; returns the source's digest. Every frame is read
    once, block by block, and the digest does not depend on the blocks."""
    sha = hashlib.sha256(np.float64(source.fps).tobytes())
    for start in range(0, source.frames, source.block_frames):
        part = np.arange(start, min(start + source.block_frames, source.frames))
        numbers = source.take(part)
        source.valid[part] &= np.isfinite(numbers).all(axis=(1, 2))
        sha.update(numbers.tobytes())
    sha.update(source.valid.tobytes())
    sha.update(source.betas.tobytes())
    return sha.hexdigest()


def motion_digests(sources: Sequence[MotionSource]) -> dict[str, str]:
    """A digest for each session or file of motion among the sources, over all its samples, 16 hexadecimal digits."""
    hashes: dict[str, Any] = {}
    for source in sources:
        if source.digest:
            hashes.setdefault(source.origin, hashlib.sha256()).update(source.digest.encode())
    return {origin: sha.hexdigest()[:16] for origin, sha in hashes.items()}


def _check_hand_models(sources: Sequence[MotionSource], folder: str | None) -> None:
    found: dict[tuple[str, str], list[str]] = {}
    for source in sources:
        found.setdefault(source.hand_model, []).append(source.name)
    wanted = tuple(model.model_id for model in hand_models(folder))
    if set(found) == {wanted}:
        return
    held = "; ".join(f"{', '.join(ids)} in {few(names)}" for ids, names in found.items())
    if len(found) > 1:
        raise GenerationError(
            f"expected sources that were all fitted with the same hand model, but found {held}. "
            "Fit them again with the same --hand-model, or remove some of them."
        )
    raise GenerationError(
        f"expected sources fitted with the hand model in use ({', '.join(wanted)} from {folder or 'the package'}), but "
        f"found {held}. Give the folder of their model with --hand-model, or fit them again."
    )


def few(names: Sequence[str]) -> str:
    """The first of some names, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
