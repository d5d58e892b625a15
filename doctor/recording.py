"""The session folder: what `read_session` says of it, every clip that cannot be used, and the times of its frames."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..capture.session import judge, read_session
from ..capture.settings import CaptureSettings
from ..capture.video import MAX_STEP
from ..core.errors import HandpipeError, SessionError, VideoError
from ..core.quality import Check
from ..core.recording import Clip, Session, Timeline
from ..settings import Config
from .findings import fine, told, worse

MANY_DROPPED = 0.05
"""Share of a view's frames that may be missing, or there twice."""


@dataclass(frozen=True)
class Opened:
    """A session folder that was looked into."""

    session: Session | None
    """None where it cannot be opened at all."""
    checks: tuple[Check, ...]


def open_session(root: Path, config: Config) -> Opened:
    """Open a session with every clip that can be used, and say what is wrong with the others.

    Raises:
        SessionError: it is no session: there is no folder with clips.
    """
    anyhow = replace(config.capture, dead_views=1.0)
    if not (root / "videos").is_dir():
        read_session(root, anyhow, config.fps)  # It says what is missing.
        raise AssertionError("a session without clips was opened")
    try:
        session = read_session(root, anyhow, config.fps)
    except (SessionError, VideoError) as error:
        return Opened(None, (told("session folder", "error", str(error)),))
    return Opened(session, (*_unusable(session, config.capture), *_described(session), *_times(session)))


def _unusable(session: Session, options: CaptureSettings) -> Iterator[Check]:
    """Clips that are left out: a few are a warning, as in a run."""
    views = len({*session.views, *session.left_out})
    board = {view: why for view, why in session.left_out.items() if view in session.views}
    videos = {view: why for view, why in session.left_out.items() if view not in session.views}
    for name, problems, count in (("clips", videos, views), ("board clips", board, len(session.views))):
        for view, why in problems.items():
            yield told(name, "error" if _too_many(session.root, problems, count, options) else "warning", why, view)
    yield from worse("unused files", session.ignored)
    yield from worse("times and names", session.warnings)


def _too_many(root: Path, problems: Mapping[str, str], views: int, options: CaptureSettings) -> bool:
    try:
        judge(root, problems, views, options)
    except HandpipeError:
        return True
    return False


def _described(session: Session) -> Iterator[Check]:
    yield fine("clips", f"{_kinds(session.clips)}; {session.timeline.frames} instants at {session.fps:.4g} fps")
    if any(session.board_clips.get(clip.view) is not clip for clip in session.clips):
        yield fine("board clips", _kinds(tuple(session.board_clips.values())))


def _kinds(clips: tuple[Clip, ...]) -> str:
    kinds = Counter((clip.frames, clip.size_px, round(clip.fps, 2)) for clip in clips)
    (frames, (width, height), fps), _ = kinds.most_common(1)[0]
    others = f" and {len(kinds) - 1} other kinds" if len(kinds) > 1 else ""
    return f"{len(clips)} clips of {frames} frames, {width}x{height} pixels, {fps:g} fps{others}"


def _times(session: Session) -> Iterator[Check]:
    """Frames that the times say are missing, or are used twice."""
    clips = tuple(session.board_clips.values())
    found = _shares(session.clips, session.timeline)
    if clips != session.clips:
        found = {
            kind: {view: max(shares.get(view, 0), more.get(view, 0)) for view in {**shares, **more}}
            for (kind, shares), more in zip(found.items(), _shares(clips, session.board_timeline).values(), strict=True)
        }
    for kind, shares in found.items():
        many = {view: share for view, share in shares.items() if share > MANY_DROPPED}
        worst = max(shares.values(), default=0.0)
        if not many:
            yield fine(f"{kind} frames by their times", f"at most {worst:.1%} of a view's frames", worst, MANY_DROPPED)
        for view, share in many.items():
            yield Check(
                f"{kind} frames by their times",
                "warning",
                share,
                MANY_DROPPED,
                view,
                f"expected at most {MANY_DROPPED:.0%} of the frames of {view} to be {kind}, but the times say "
                f"{share:.0%}.",
                "Record with a faster disk or bus, a lower rate or fewer cameras for each USB controller.",
            )


def _shares(clips: tuple[Clip, ...], timeline: Timeline) -> dict[str, dict[str, float]]:
    """Share of each view's frames that were dropped, and that stand for two instants."""
    dropped, doubled = {}, {}
    for clip, source, time_s in zip(clips, timeline.source_frame, timeline.time_s, strict=True):
        has = source >= 0
        step = np.diff(time_s[has])
        usual = np.median(step) if len(step) else 0.0
        gaps = np.round(step[step > MAX_STEP * usual] / usual - 1).sum() if usual > 0 else 0.0
        missing = max(float(np.mean(~has)), float(gaps / (len(step) + 1 + gaps)) if len(step) else 0.0)
        dropped[clip.view] = missing
        doubled[clip.view] = float(np.mean(np.diff(source[has]) == 0)) if has.sum() > 1 else 0.0
    return {"dropped": dropped, "doubled": doubled}
