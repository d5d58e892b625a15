"""Which view and which frame a file's name means. Pure."""

# Ring 2: reads and writes.

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import PurePath

from ...core.errors import ConfigError, SessionError

Place = Callable[[str, str, bool], tuple[str, int | None]]
"""From a message's `where`, a name, and whether the frame must be in it, to the view and the frame."""

MAX_DIGITS = 18
"""Of a frame's number, with leading zeros."""

AFTER_FRAME, BEFORE_VIEW = "_keypoints", "results_"
"""What OpenPose writes after the frame's number, and MMPose's demo before the video's name."""


def place_of(views: Sequence[str], pattern: str | None) -> Place:
    """How names are understood.

    Args:
        views: the session's.
        pattern: as in `{view}/img_{frame}.jpg`, matched from the right; `*` stands for anything but a slash. None: the
            view is a folder of the name or begins its last part; the frame is the last number of the last part.

    Raises:
        ConfigError: the pattern has no {view}.
    """
    if pattern is None:
        return lambda where, name, with_frame: _guess(views, where, name, with_frame)
    if pattern.count("{view}") != 1 or pattern.count("{frame}") > 1:
        raise ConfigError(
            f"--pattern {pattern}: expected {{view}} once, and {{frame}} at most once, as in "
            "'{view}/img_{frame}.jpg'. Correct it."
        )
    text = re.escape(pattern).replace(r"\{view\}", r"(?P<view>[^/]+?)")
    text = text.replace(r"\{frame\}", rf"(?P<frame>\d{{1,{MAX_DIGITS}}})")
    expression = re.compile(r"(?:^|.*/)" + text.replace(r"\*", "[^/]*") + "$")

    def match(where: str, name: str, with_frame: bool) -> tuple[str, int | None]:
        found = expression.match(PurePath(name).as_posix())
        if found is None or (with_frame and "frame" not in found.groupdict()):
            raise SessionError(f"{where}: expected a name like '{pattern}', but found '{name}'. Correct --pattern.")
        return known_view(views, where, found["view"]), int(found["frame"]) if with_frame else None

    return match


def _guess(views: Sequence[str], where: str, name: str, with_frame: bool) -> tuple[str, int | None]:
    *folders, last = PurePath(name).parts or ("",)
    stem = re.sub(r"\.[A-Za-z]\w{1,3}$", "", last)
    stem = stem.removesuffix(AFTER_FRAME).removeprefix(BEFORE_VIEW)
    starts = [view for view in views if stem == view or re.match(re.escape(view) + r"[^0-9A-Za-z]", stem)]
    inside = [folder for folder in reversed(folders) if folder in views]
    if not inside and not starts:
        raise _unknown(views, where, name)
    view = inside[0] if inside else max(starts, key=len)
    if not with_frame:
        return view, None
    # What names the view does not number the frame: cam_1.json is no frame 1.
    rest = stem if inside else stem[len(view) :]
    numbers = re.findall(r"\d+", rest)
    if not numbers or len(numbers[-1]) > MAX_DIGITS:
        raise SessionError(
            f"{where}: expected the frame's number in the name, but found '{name}'. "
            "Rename the files, or say what their names mean with --pattern."
        )
    return view, int(numbers[-1])


def known_view(views: Sequence[str], where: str, name: str) -> str:
    """The name, if it is one of the views. Raises SessionError."""
    if name not in views:
        raise _unknown(views, where, name)
    return name


def _unknown(views: Sequence[str], where: str, name: str) -> SessionError:
    known = ", ".join(views[:12]) + (", ..." if len(views) > 12 else "")
    return SessionError(
        f"{where}: expected one of the session's views ({known}) in the name, but found '{name}'. "
        "Rename the file or its folder, or say what the names mean with --pattern."
    )
