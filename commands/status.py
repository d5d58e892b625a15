"""`handpipe status`: how far sessions are, from what stands in their stores."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from rich.table import Table
from rich.text import Text
from tyro.conf import Positional, arg

from ..core.errors import ConfigError, HandpipeError, SessionError
from ..core.storage.store import Store
from ..screen import STYLE, Screen
from ..settings import STAGES, Config, Stage, session_folder
from . import Configured

GROUPS: Mapping[Stage, tuple[str, ...]] = {
    "calibrate": ("board", "intrinsics", "cameras"),
    "detect": ("timeline", "detections"),
    "triangulate": ("clock", "aligned", "groups", "tracks", "looks", "second_look", "keypoints", "quality"),
    "fit": ("shape", "mano"),
}
"""What each stage writes, in order; the last one is there when it is done."""

COLOUR = {"done": "green", "imported": "green", "out of date": "yellow"}


@dataclass(frozen=True)
class Status(Configured):
    """Show which stages of sessions are done, how far the others are, and the verdict. Nothing is computed or written.

    Settings are not compared with the results: `handpipe run` does that, and computes again what is out of date.
    """

    sessions: Annotated[Positional[tuple[str, ...]], arg(metavar="SESSION...")]
    """Session folders, or names of sessions in pipeline.yaml."""
    store: str | None = None
    """Store of the results of one session: a folder or an fsspec URL. Default: session.zarr in the session folder."""

    sections = ("sessions",)

    def execute(self, config: Config, screen: Screen) -> dict[str, Any]:
        if not self.sessions:
            raise ConfigError("expected a session, but none is named. Name a session folder.")
        if self.store is not None and len(self.sessions) > 1:
            raise ConfigError(
                f"--store {self.store}: expected one session, but {len(self.sessions)} are named. Leave it out."
            )
        found = [self._one(config, name) for name in self.sessions]
        screen.console.print(_table(found))
        for session in found:
            if "error" in session:
                screen.say(f"failed: {session['error']}")
            elif session["changed"]:
                names = ", ".join(session["changed"][:3])
                screen.say(
                    f"warning: {session['session']}: {len(session['changed'])} files are not those that results were "
                    f"computed of: {names}{', ...' * (len(session['changed']) > 3)}"
                )
        return {"sessions": found}

    def _one(self, config: Config, name: str) -> dict[str, Any]:
        try:
            return {"session": name, **status(session_folder(config, name), self.store)}
        except HandpipeError as error:
            return {"session": name, "state": "failed", "error": str(error)}


def status(root: Path, store: str | None = None) -> dict[str, Any]:
    """How far a session is: a state for each stage, the verdict, and what changed since.

    Args:
        root: the session's folder.
        store: address of its store; None is session.zarr in the folder.

    Raises:
        HandpipeError: there is no session, or its store cannot be read.
    """
    place = Store((store or str(root / "session.zarr")).rstrip("/"))
    if not root.is_dir():
        raise SessionError(f"{root}: expected a session folder, but there is none. Check the name.")
    groups = place.groups() if place.exists() else set()
    stages = {stage: _stage(place, groups, stage) for stage in STAGES}
    done = all(each["state"] in ("done", "imported") for each in stages.values())
    begun = any(each["state"] != "missing" for each in stages.values())
    figures = {"store": place.url, "state": "done" if done else "partly done" if begun else "not begun"}
    quality = place.attrs("quality") if "quality" in groups else {}
    verdict = quality["verdict"] if quality.get("complete") else None
    return {**figures, "stages": stages, "verdict": verdict, "changed": changed_files(place, root)}


def _stage(store: Store, groups: set[str], stage: Stage) -> dict[str, Any]:
    """The state of a stage; of one that is partly done, the group at which it stands, and how far that is."""
    there = [group for group in GROUPS[stage] if group in groups]
    last = GROUPS[stage][-1]
    for group in ("detections", "keypoints"):
        if group in there and "imported" in store.attrs(group) and store.complete(group):
            return {"state": "imported"}
    for group in there:
        if not store.complete(group):
            done = store.done(group)
            return {"state": "partly done", "group": group, "done": int(np.sum(done)), "planned": done.size}
    if last not in there:
        return {"state": "partly done" if there else "missing"}
    older = [group for group in there if _inputs_changed(store, groups, group)]
    return {"state": "out of date", "group": older[0]} if older else {"state": "done"}


def _inputs_changed(store: Store, groups: set[str], group: str) -> bool:
    """Whether a group that this one was computed from has been computed from something else since."""
    inputs = (store.fingerprint(group) or {}).get("inputs", {})
    # What is called `timeline` there is a digest of its frames.
    names = (groups & set(inputs)) - {"timeline"}
    return any(isinstance(inputs[name], str) and inputs[name] != store.digest_of(name) for name in names)


def changed_files(store: Store, root: Path) -> list[str]:
    """Clips of which results were computed, and whose size or time is another now, or that are gone."""
    changed = []
    known = store.attrs("_content").get("sha256", {}) if store.exists() else {}
    for name, (size, time_ns, _) in known.items():
        if "/" not in name:  # No clip: the model of a detector, which stands elsewhere.
            continue
        try:
            found = (root / name).stat()
        except OSError:
            changed.append(name)
            continue
        if (found.st_size, found.st_mtime_ns) != (size, time_ns):
            changed.append(name)
    return changed


def _table(sessions: list[dict[str, Any]]) -> Table:
    table = Table("session", *STAGES, "verdict")
    for session in sessions:
        cells = [_cell(session["stages"][stage]) if "stages" in session else Text("") for stage in STAGES]
        verdict: str = "cannot be read" if "error" in session else session["verdict"] or ""
        table.add_row(Text(session["session"]), *cells, Text(verdict, style=STYLE.get(verdict, "")))
    return table


def _cell(stage: Mapping[str, Any]) -> Text:
    state: str = stage["state"]
    text = {"missing": "", "partly done": "begun"}.get(state, state)
    if "planned" in stage:
        text = f"{stage['group']}: {stage['done']} of {stage['planned']}"
    return Text(text, style=COLOUR.get(state, ""))
