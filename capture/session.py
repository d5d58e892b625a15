"""Session folders: the clips of a recording, their synchronisation, and checks for unusable clips."""

# Ring 2: reads and writes.

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..core.cameras_file import MAX_BYTES
from ..core.errors import SessionError, VideoError
from ..core.files import check_file, same_name
from ..core.recording import Clip, Session, Timeline, regular
from ..core.storage.store import Store
from .ignored import ignored_files
from .recording.closing import complete
from .settings import CaptureSettings
from .time_units import MAX_FPS, MIN_FPS, agree, plausible, step_per_frame
from .timeline import presented, read_timestamps
from .video import find_clips, probe

TIMESTAMPS = "timestamps.csv"

CONTENT = "_content"
"""Group whose attributes remember the hashes of files, so that an unchanged file is not read again."""


def read_session(root: Path, options: CaptureSettings, fps: float | None = None) -> Session:
    """Open a session folder and check every clip.

    Args:
        root: the folder.
        options: settings of capture.
        fps: frames per second, where the clips' headers are not to be trusted.

    Raises:
        SessionError, VideoError: it is not a session, or more views are unusable than `dead_views` allows.
    """
    videos = root / "videos"
    if not root.is_dir() or not videos.is_dir():
        found = "no such folder" if not root.exists() else "no folder `videos` in it"
        raise SessionError(
            f"{root}: expected a session folder with one clip per camera in {videos}, but found {found}. "
            "Create the folder as described in docs/sessions.md."
        )
    if _is_there(root / "cameras.toml"):
        check_file(root / "cameras.toml", "a camera file", MAX_BYTES)
    completed = [said for folder in (root, root / "calibration") if (said := complete(folder)) is not None]
    paths = find_clips(videos)
    if not paths:
        raise SessionError(
            f"{videos}: expected one clip per camera, but found none. Put the clips there, as <view>.mp4."
        )
    board_folder = root / "calibration"
    board_found = find_clips(board_folder) if board_folder.is_dir() else {}
    board_names = {name: _view_of_board_clip(name, [*paths], [*board_found]) for name in board_found}
    board_paths = {board_names[name]: path for name, path in board_found.items()}
    # A camera that filmed the board and has no clip of the hands is missing, not absent.
    expected = paths | {view: videos / f"{view}.mp4" for view in board_paths.keys() - paths.keys()}
    clips, problems = _probe_all(expected)
    problems |= _odd_ones(clips, options, fps, timestamps=_is_there(root / TIMESTAMPS))
    judge(root, problems, len(expected), options)
    views = [view for view in paths if view not in problems]
    if not views:
        raise VideoError(next(iter(problems.values())))
    kept = {view: clips[view] for view in views}
    _check_rate(videos, kept[views[0]].fps, fps, timestamps=_is_there(root / TIMESTAMPS))
    timeline = _timeline(root / TIMESTAMPS, kept, fps, options, problems)
    rate = fps or (_rate(root / TIMESTAMPS, timeline) if timeline.timestamps else kept[views[0]].fps)
    board_clips, board_problems = _probe_all({view: board_paths[view] for view in views if view in board_paths})
    for view, clip in board_clips.items():
        if clip.size_px != kept[view].size_px:
            board_problems[view] = _unlike(clip, "size", kept[view].size_px, str(kept[view].path))
    # Their sizes were held against the view's own clip; here only what makes them simultaneous counts.
    board_problems |= _odd_ones(
        board_clips, replace(options, mixed_sizes=True), fps, timestamps=_is_there(board_folder / TIMESTAMPS)
    )
    judge(board_folder, board_problems, len(views), options)
    usable = {view: clip for view, clip in board_clips.items() if view not in board_problems}
    lens_clips, lens_paths, lens_warnings = _lens_clips(root / "intrinsics", kept)
    return Session(
        root=root,
        clips=tuple(kept.values()),
        board_clips=usable or kept,
        timeline=timeline,
        board_timeline=_timeline(board_folder / TIMESTAMPS, usable, rate, options, expected.keys() - usable.keys())
        if usable
        else timeline,
        fps=rate,
        left_out={**problems, **board_problems},
        ignored=tuple(ignored_files(root, {*paths.values(), *board_paths.values(), *lens_paths})),
        warnings=(
            *completed,
            *timeline.warnings,
            *_rate_warnings(root, timeline, kept, fps),
            *_names_alike(root, paths, board_names),
            *lens_warnings,
        ),
        lens_clips=lens_clips,
    )


def _lens_clips(folder: Path, clips: Mapping[str, Clip]) -> tuple[dict[str, Clip], list[Path], list[str]]:
    """The clips of `intrinsics/` that can be used, the paths of all of them, and a sentence for each that cannot."""
    found = find_clips(folder) if folder.is_dir() else {}
    views = {name: _view_of_board_clip(name, [*clips], [*found]) for name in found}
    sentences = [
        f"{found[name]}: this clip is not used, because there is no view {name}. Give it the name of its camera's clip."
        for name, view in views.items()
        if view not in clips
    ]
    usable, problems = _probe_all({view: found[name] for name, view in views.items() if view in clips})
    for view, clip in usable.items():
        if clip.size_px != clips[view].size_px:
            problems[view] = _unlike(clip, "size", clips[view].size_px, str(clips[view].path))
    sentences += [
        f"the lens of {view} is estimated without its clip in intrinsics: {why}" for view, why in problems.items()
    ]
    return {view: clip for view, clip in usable.items() if view not in problems}, [*found.values()], sentences


def _is_there(path: Path) -> bool:
    """Whether a folder has an entry, even if it is a link that leads nowhere: that is an error, not an absence."""
    return path.exists() or path.is_symlink()


def _timeline(
    timestamps: Path,
    clips: Mapping[str, Clip],
    fps: float | None,
    options: CaptureSettings,
    left_out: Collection[str],
) -> Timeline:
    first = next(iter(clips.values()))
    if _is_there(timestamps):
        frames = {view: clip.frames for view, clip in clips.items()}
        rates = {view: clip.fps for view, clip in clips.items()}
        return read_timestamps(timestamps, frames, sorted(left_out), rates, options.timestamps_unit)
    if fps is None and any(clip.uneven_s for clip in clips.values()):
        return presented(clips)
    return regular(len(clips), min(clip.frames for clip in clips.values()), fps or first.fps)


def _check_rate(videos: Path, clip_fps: float, fps: float | None, timestamps: bool) -> None:
    """Raise an error when the rate that is used is one that no camera has."""
    if fps is not None and not plausible(fps):
        raise SessionError(
            f"fps: expected {MIN_FPS:g} to {MAX_FPS:g} frames per second, but found {fps:g}. "
            "Correct `fps`, or leave it out: the rate is then read from the clips."
        )
    if fps is None and not timestamps and not plausible(clip_fps):
        raise SessionError(
            f"{videos}: expected clips of {MIN_FPS:g} to {MAX_FPS:g} frames per second, but their headers say "
            f"{clip_fps:g}. Set `fps`, or add a timestamps.csv."
        )


def _view_of_board_clip(name: str, views: Sequence[str], board: Sequence[str]) -> str:
    """The view that filmed a board clip: the one with its name, or with a name that differs from it in case only."""
    same = same_name(name, views)
    return name if same is None or same in board else same


def _names_alike(root: Path, paths: Mapping[str, Path], board_names: Mapping[str, str]) -> Iterator[str]:
    """Names of views that differ in case only, and board clips that were matched although their names differ so."""
    for name, view in board_names.items():
        if name != view:
            yield f"{root}: the board clip {name} is used for the view {view}. Give both the same name."
    seen: dict[str, str] = {}
    for view in paths:
        other = seen.setdefault(view.casefold(), view)
        if other != view:
            yield f"{root}: {other} and {view} are two views, because their names differ in case. Rename one of them."


def _rate_warnings(root: Path, timeline: Timeline, clips: Mapping[str, Clip], fps: float | None) -> Iterator[str]:
    """Rates that differ more than clips of one recording do, although each is possible."""
    for row, (view, clip) in enumerate(clips.items()):
        measured = _clip_rate(timeline, row) if timeline.timestamps else math.nan
        if not agree(measured, clip.fps):
            yield (
                f"{root / TIMESTAMPS}: the times of {view} give {measured:.4g} frames per second, but its clip "
                f"declares {clip.fps:.4g}. Check the times; ignore this if the clip's header is wrong."
            )
            break
    declared = timeline.fps() if timeline.timestamps else next(iter(clips.values())).fps
    if fps is not None and not agree(fps, declared):
        where = TIMESTAMPS if timeline.timestamps else "the header of the clips"
        yield f"fps: {fps:g} frames per second is set, but {where} gives {declared:.4g}. Check `fps`."


def _clip_rate(timeline: Timeline, view: int) -> float:
    """Frames per second of one view's clip, from its times; NaN where they do not tell."""
    has = timeline.source_frame[view] >= 0
    return 1 / step_per_frame(timeline.source_frame[view, has], timeline.time_s[view, has])


def _rate(timestamps: Path, timeline: Timeline) -> float:
    fps = timeline.fps()
    if math.isfinite(fps) and not plausible(fps):
        raise SessionError(
            f"{timestamps}: expected {MIN_FPS:g} to {MAX_FPS:g} time steps per second, but found {fps:.4g}. "
            "Number the instants in sync_index without gaps, and write frame_time in seconds."
        )
    if not math.isfinite(fps) and timeline.frames > 1:
        raise SessionError(
            f"{timestamps}: expected frame_time to increase with sync_index, but it is constant. "
            "Write the time of each frame in seconds, or set `fps`."
        )
    return fps if math.isfinite(fps) else 1.0


def _probe_all(paths: Mapping[str, Path]) -> tuple[dict[str, Clip], dict[str, str]]:
    clips, problems = {}, {}
    for view, path in paths.items():
        try:
            clips[view] = probe(path)
        except VideoError as error:
            problems[view] = str(error)
    return clips, problems


def _odd_ones(
    clips: Mapping[str, Clip], options: CaptureSettings, fps: float | None, timestamps: bool
) -> dict[str, str]:
    """Clips unlike the majority in size, rate or length."""
    kinds: list[tuple[str, Callable[[Clip], Any]]] = []
    if not options.mixed_sizes:
        kinds.append(("size", lambda clip: clip.size_px))
    if not timestamps:
        # With timestamps.csv, the file says what is simultaneous: lengths and rates may differ.
        kinds.append(("length", lambda clip: clip.frames))
        if fps is None:
            kinds.append(("rate", lambda clip: round(clip.fps, 3)))
    problems = {}
    for what, value in kinds:
        if not clips:
            break
        # Of a clip with a variable rate, the mean says little: `presented` compares its times.
        compared = {view: clip for view, clip in clips.items() if what != "rate" or not clip.uneven_s}
        usual = Counter(value(clip) for clip in compared.values() or clips.values()).most_common(1)[0][0]
        for view, clip in compared.items():
            if value(clip) != usual and view not in problems:
                problems[view] = _unlike(clip, what, usual, "the other clips")
    return problems


def _unlike(clip: Clip, what: str, usual: Any, others: str) -> str:
    show = {
        "size": lambda clip_or_size: "{}x{} pixels".format(*clip_or_size),
        "length": lambda frames: f"{frames} frames",
        "rate": lambda fps: f"{fps:g} frames per second",
    }[what]
    found = {"size": clip.size_px, "length": clip.frames, "rate": clip.fps}[what]
    advice = {
        "size": "Record all views with the same size, or set `capture.mixed_sizes: true` if the cameras differ.",
        "length": "Trim the clips to the same length, or add a timestamps.csv.",
        "rate": "Record all views at the same rate, add a timestamps.csv, or set `fps` if the header is wrong.",
    }[what]
    return f"{clip.path}: expected {show(usual)} like {others}, but found {show(found)}. {advice}"


def judge(root: Path, problems: Mapping[str, str], views: int, options: CaptureSettings) -> None:
    """Leave out a few unusable views with a warning; raise VideoError if there are more."""
    if len(problems) > int(options.dead_views * views):
        text = "; ".join(problems.values()) if len(problems) < 4 else "; ".join(list(problems.values())[:3]) + "; ..."
        if len(problems) > 1:
            text = f"{root}: {len(problems)} of {views} views cannot be used: {text}"
        raise VideoError(text)


def content_hashes(store: Store, paths: Mapping[str, Path], remember: bool = True) -> dict[str, str]:
    """SHA-256 of files, by the names given. Cached in the store by size and modification time, if they are to be."""
    known: dict[str, list[Any]] = store.attrs(CONTENT).get("sha256", {})

    def one(item: tuple[str, Path]) -> tuple[str, list[Any]]:
        name, path = item
        stat = path.stat()
        stamp = [stat.st_size, stat.st_mtime_ns]
        if name in known and known[name][:2] == stamp:
            return name, known[name]
        with path.open("rb") as file:
            return name, [*stamp, hashlib.file_digest(file, "sha256").hexdigest()]

    with ThreadPoolExecutor(4) as pool:
        found = dict(pool.map(one, paths.items()))
    if remember and any(known.get(name) != entry for name, entry in found.items()):
        store.set_attrs(CONTENT, sha256={**known, **found})
    return {name: str(entry[2]) for name, entry in found.items()}
