"""2D hands from elsewhere become a session's `detections`: `handpipe import keypoints2d`."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from ...capture.detect import GROUP, summarize
from ...capture.session import read_session
from ...capture.settings import CaptureSettings
from ...core.cameras_file import read_cameras
from ...core.engine import Plan, Unit
from ...core.errors import ConfigError, SessionError
from ...core.hands import NUM_JOINTS
from ...core.recording import Clip, Session, regular
from ...core.storage.schema import DETECTIONS, group_spec
from ...core.storage.store import GroupSpec, Store
from ...hand.keypoints import check_fps
from .files import read_files
from .hands import Candidates2d, Hand2d, ImageHands, candidates_of, check_order, check_pixels
from .names import known_view, place_of
from .reading import Reading

CODE = 1
"""Raised when the same files would give other numbers."""

CHUNK_FRAMES = 1024

IMPORTED = "imported"
"""Attribute of `detections` that no detector of handpipe's made; `run` leaves them as they are."""


def import_keypoints2d(
    root: Path, paths: Sequence[Path], reading: Reading, capture: CaptureSettings, fps: float | None, store: Store
) -> tuple[dict[str, Any], list[str]]:
    """Files of 2D hands to the `detections` of a session.

    Args:
        root: the session's folder: clips in videos/, or only cameras.toml.
        paths: files, or folders of files, in any mixture of formats.
        reading: how they are read.
        capture: what makes a session.
        fps: frames per second; needed where there are no clips.
        store: where the group goes.

    Returns:
        Figures for a program, and lines for a person.

    Raises:
        HandpipeError: the files, or the session, are not what they should be. What was there before stays.
    """
    if not 0 <= reading.min_confidence < 1 or not 1 <= reading.candidates <= 8:
        raise ConfigError(
            f"--min-confidence {reading.min_confidence:g} --candidates {reading.candidates}: expected a confidence "
            "from 0 to below 1, and 1 to 8 candidates. Correct them."
        )
    filmed = (root / "videos").exists()
    session = read_session(root, capture, fps) if filmed else _rig_without_clips(root, fps, frames=1)
    found = read_files(paths, reading.min_confidence)
    views = _by_view(session, found.pictures, reading, filmed)
    if not filmed:
        session = _rig_without_clips(root, fps, _frames(views))
    candidates = {
        name: candidates_of(view.hands, _clip(session, name).frames, reading.candidates) for name, view in views.items()
    }
    _check(session, views, candidates)
    fingerprint = {
        "settings": asdict(reading),
        "inputs": {IMPORTED: found.sha256, "timeline": session.timeline.digest(), "views": list(session.views)},
        "code": CODE,
    }
    store.open()
    with store.lock():
        store.clean()
        written = store.fingerprint(GROUP) != fingerprint or not store.complete(GROUP)
        replaced = written and store.complete(GROUP) and not imported(store)
        if written:
            _write(store, session, candidates, fingerprint, reading, [path.name for path in paths])
    messages = ["detections: what the detector had found is replaced"] if replaced else []
    return _report(root, session, store, candidates, written, messages)


@dataclass(frozen=True)
class _View:
    """One view's hands."""

    where: str
    """A file they are from, for messages."""
    hands: dict[int, Sequence[Hand2d]]
    """By frame of the view's clip; a frame without hands counts as looked at."""


def _by_view(session: Session, pictures: Sequence[ImageHands], reading: Reading, filmed: bool) -> dict[str, _View]:
    place = place_of(session.views, reading.pattern)
    found: dict[str, _View] = {}
    where: dict[tuple[str, int], str] = {}
    for picture in pictures:
        if picture.view is None:
            view, number = place(picture.where, picture.name, picture.number is None)
        else:
            view, number = known_view(session.views, picture.where, picture.view), None
        number = picture.number if number is None else number
        assert number is not None
        first = picture.first if reading.first_frame is None else reading.first_frame
        clip = _clip(session, view)
        if number < first or (filmed and number - first >= clip.frames):
            raise SessionError(
                f"{picture.where}: expected frames {first} to {first + clip.frames - 1} of {view}, like its clip's, "
                f"but found frame {number}. If the first one has another number, say it with --first-frame."
            )
        if (view, number) in where:
            raise SessionError(
                f"{picture.where}: expected every frame once, but frame {number} of {view} is also in "
                f"{where[view, number]}. Give only one of them."
            )
        if picture.size_px not in (None, clip.size_px):
            raise SessionError(
                f"{picture.where}: expected {clip.size_px[0]}x{clip.size_px[1]} pixels like {view}'s images, but the "
                f"file says {picture.size_px[0]}x{picture.size_px[1]}. Give coordinates in the session's own images."
            )
        where[view, number] = picture.where
        found.setdefault(view, _View(picture.where, {})).hands[number - first] = picture.hands
    return found


def _frames(views: Mapping[str, _View]) -> int:
    """Length of a session without clips: to its last frame. Raises SessionError when the numbers count no frames."""
    name, last = max(((name, max(view.hands)) for name, view in views.items()), key=lambda each: each[1])
    known = max(len(view.hands) for view in views.values())
    if last >= 10 * known:
        raise SessionError(
            f"{views[name].where}: expected numbers that count frames, but {known} frames reach up to {last}. "
            "Number them 0, 1, 2, ..., say the first with --first-frame, or say what names mean with --pattern."
        )
    return last + 1


def _clip(session: Session, view: str) -> Clip:
    return session.clips[session.views.index(view)]


def _check(session: Session, views: Mapping[str, _View], candidates: Mapping[str, Candidates2d]) -> None:
    """Refuse what cannot be the hands of this session."""
    every = []
    for name, found in candidates.items():
        points = found.points_px[np.isfinite(found.score)]
        check_pixels(points, _clip(session, name).size_px, f"{views[name].where} (view {name})")
        every.append(points)
    one = next(iter(views.values())).where
    if not sum(map(len, every)):
        raise SessionError(f"{one}: expected a hand in some file, but there is none in any. Check the detector.")
    check_order(np.concatenate(every), one)


def _write(
    store: Store,
    session: Session,
    candidates: Mapping[str, Candidates2d],
    fingerprint: Mapping[str, Any],
    reading: Reading,
    names: Sequence[str],
) -> None:
    frames = session.timeline.frames
    attrs = {"fps": session.fps, IMPORTED: list(names)}
    store.create(_group(session, reading.candidates, CHUNK_FRAMES, fingerprint, attrs))
    for unit, start in enumerate(range(0, frames, CHUNK_FRAMES)):
        part = slice(start, min(start + CHUNK_FRAMES, frames))
        blocks = [_instants(session, view, candidates.get(view), reading, part) for view in session.views]
        store.write(GROUP, (unit,), {name: np.stack([block[name] for block in blocks]) for name in DETECTIONS})
    store.finish(GROUP, **summarize(store))
    store.consolidate()


def _group(
    session: Session, limit: int, chunk_frames: int, fingerprint: Mapping[str, Any], attrs: Mapping[str, Any]
) -> GroupSpec:
    frames = session.timeline.frames
    return group_spec(
        GROUP,
        DETECTIONS,
        sizes={"view": len(session.views), "frame": frames, "candidate": limit},
        unit={"frame": min(chunk_frames, frames)},
        fingerprint=fingerprint,
        attrs=attrs,
        coords={"view": (("view",), np.array(session.views, object))},
    )


def _instants(
    session: Session, view: str, found: Candidates2d | None, reading: Reading, part: slice
) -> dict[str, ndarray]:
    """One view's arrays at some instants of the session: each takes the frame of the clip that belongs to it."""
    source = session.timeline.source_frame[session.views.index(view), part]
    points = np.full((len(source), reading.candidates, NUM_JOINTS, 2), np.nan, np.float32)
    score, right = np.full(points.shape[:2], np.nan, np.float32), np.full(points.shape[:2], np.nan, np.float32)
    if found is not None:
        there = source >= 0
        shift = 0.5 if reading.origin == "corner" else 0.0
        points[there] = found.points_px[source[there]] - shift
        score[there], right[there] = found.score[source[there]], found.right[source[there]]
    return {"points": points, "score": score, "right": right}


def _report(
    root: Path,
    session: Session,
    store: Store,
    candidates: Mapping[str, Candidates2d],
    written: bool,
    messages: list[str],
) -> tuple[dict[str, Any], list[str]]:
    without = [view for view in session.views if view not in candidates]
    dropped = sum(each.dropped for each in candidates.values())
    found = store.attrs(GROUP)["hands_found"]
    figures = {
        "session": str(root),
        "views": len(session.views),
        "frames": session.timeline.frames,
        "fps": session.fps,
        "hands_found": found,
        "views_without": without,
        "dropped": dropped,
        "computed": [GROUP] if written else [],
    }
    if without:
        messages.append(f"warning: no file for {', '.join(without[:12])}{', ...' if len(without) > 12 else ''}")
    if dropped:
        messages.append(
            f"warning: {dropped} hands left out, the least certain where an image has more than --candidates"
        )
    counts = " / ".join(str(n) for n in range(len(found)))
    shares = " / ".join(f"{100 * share:.1f} %" for share in found)
    messages.append(
        f"{root}: {'imported' if written else 'up to date'}: {len(candidates)} of {len(session.views)} views, "
        f"{session.timeline.frames} frames at {session.fps:g} fps, images with {counts} hands: {shares}; "
        f"next: `handpipe run {root}`"
    )
    return figures, messages


# ---- imported detections in a run --------------------------------------------------------------------------------


def imported(store: Store) -> bool:
    """Whether the store's detections came, or began to come, from `handpipe import`."""
    return IMPORTED in store.attrs(GROUP)


def check_session(session: Session, store: Store) -> None:
    """Raise SessionError when imported detections are not whole, or not of the session as it now is."""
    advice = "Import them again, or use `handpipe detect --force` for handpipe's own."
    made_from = store.fingerprint(GROUP)
    if made_from is None or not store.complete(GROUP):
        raise SessionError(f"{store.url}: expected imported detections, but the import was interrupted. {advice}")
    inputs = made_from["inputs"]
    if inputs["views"] != list(session.views) or inputs["timeline"] != session.timeline.digest():
        raise SessionError(
            f"{store.url}: expected imported detections of the session's {len(session.views)} views and "
            f"{session.timeline.frames} frames, but its clips or timestamps have changed since the import. {advice}"
        )


def stored_session(root: Path, store: Store, fps: float | None) -> Session:
    """A session without clips: cameras.toml and imported detections. Raises SessionError, CalibrationError."""
    rate = fps or float(store.attrs(GROUP)["fps"])
    return _rig_without_clips(root, rate, store.read(GROUP, "score").shape[1])


def _rig_without_clips(root: Path, fps: float | None, frames: int) -> Session:
    """Cameras stand for the clips that are not there: views, sizes, frames."""
    path = root / "cameras.toml"
    if not path.exists() or fps is None:
        raise SessionError(
            f"{root}: expected clips in videos/, or without clips a cameras.toml and --fps, but found "
            f"{'no frame rate' if path.exists() else 'neither'}. docs/importing.md shows what is needed."
        )
    check_fps(fps, str(root))
    cameras = read_cameras(path)
    clips = tuple(
        Clip(root / "videos" / f"{name}.mp4", frames, fps, (int(width), int(height)))
        for name, (width, height) in zip(cameras.names, cameras.size_px, strict=True)
    )
    timeline = regular(len(clips), frames, fps)
    return Session(root, clips, {}, timeline, timeline, fps, {})


@dataclass(frozen=True)
class CopyDetections:
    """The first frames of imported detections, for a run on these only."""

    rig: Store
    frames: int
    units: Sequence[Unit] = ((0,),)

    def run(self, todo: Sequence[Unit]) -> Iterator[tuple[Unit, Mapping[str, ndarray]]]:
        region = (slice(None), slice(self.frames))
        yield todo[0], {name: self.rig.read(GROUP, name, region) for name in DETECTIONS}


def copy_plan(session: Session, rig: Store, chunk_frames: int) -> Plan:
    """The imported detections of a pruned session.

    Args:
        session: as long as it is to be.
        rig: the store with all of them.
        chunk_frames: unused: it is one unit.
    """
    del chunk_frames
    frames = session.timeline.frames
    limit = rig.read(GROUP, "score", (slice(1), slice(1))).shape[2]
    fingerprint = {"settings": {"frames": frames}, "inputs": {IMPORTED: rig.digest_of(GROUP)}, "code": CODE}
    attrs = {"fps": session.fps, IMPORTED: rig.attrs(GROUP)[IMPORTED]}
    spec = _group(session, limit, frames, fingerprint, attrs)
    return Plan(spec, [CopyDetections(rig, frames)], {(0,): frames}, "frames", summarize)
