"""`handpipe verify`: are results and clips as they were written?"""

# Ring 2: reads and writes.

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from ..core.storage.opened_arrays import METADATA
from ..core.storage.store import Store
from ..screen import Screen
from ..settings import STAGES, Config, session_folder
from . import Configured

STAGE_OF = {"cameras": "calibrate", "detections": "detect", "keypoints": "triangulate", "mano": "fit"}
"""Group that a stage ends with: the stage."""

NOT_INTACT = {"verdict": "not usable", "checks": []}
"""Makes the exit status 3."""


@dataclass(frozen=True)
class Verify(Configured):
    """Read all results of a session and its clips, and report what is not as it was written. Exit status 3 if any.

    With `--repair`, metadata is restored, and only what is damaged is computed again.
    """

    common = ("engine.workers", "engine.scheduler")
    sections = ("engine",)
    short = ("engine",)

    session: Annotated[Positional[str], arg(metavar="SESSION")]
    """A session folder, the name of a session in pipeline.yaml, or a store."""
    store: str | None = None
    """Store of the results: a folder or an fsspec URL. Default: session.zarr in the session folder."""
    repair: bool = False
    """Compute again what is damaged."""

    def config_sources(self) -> tuple[Path | None, str | None]:
        return self.config, self.session or None

    def execute(self, config: Config, screen: Screen) -> dict[str, Any]:
        root, stores = self._places(config)
        rig = stores[0]
        found: dict[str, list[str]] = {}
        groups: set[str] = set()
        with ExitStack() as locks:
            for store in stores:
                locks.enter_context(store.lock(screen.say))
                damages, older, touched = self._one(store, screen)
                groups |= touched
                found[store.url] = damages
                if older:
                    screen.say(
                        f"{store.url}: {len(older)} groups carry no checksums, because an older handpipe wrote them: "
                        f"{', '.join(older)}. In them, only what cannot be decoded is found."
                    )
            clips = changed_clips(rig, root) if root is not None else []
            for name in clips:
                screen.say(f"damaged: {root}/{name}: its content is not that of which results were computed")
            if clips and self.repair:
                known = rig.attrs("_content")["sha256"]
                rig.set_attrs("_content", sha256={name: value for name, value in known.items() if name not in clips})
        damaged = bool(clips or any(found.values()))
        if damaged and self.repair:
            self._compute(config, screen, root, rig)
        elif damaged:
            screen.say(f"next: `handpipe verify {self.session} --repair`")
        else:
            screen.say(f"{self.session}: all as it was written")
        figures = {"stores": found, "clips": clips, "repaired": sorted(groups) if self.repair else []}
        return figures if self.repair or not damaged else {**figures, "quality": NOT_INTACT}

    def _places(self, config: Config) -> tuple[Path | None, list[Store]]:
        """The session's folder, if it has one, and its stores that are there."""
        name = self.session.rstrip("/")
        if "://" in name or (Path(name) / METADATA).is_file():
            store, parent = Store(name), Path(name).resolve().parent
            filmed = "://" not in name and any((parent / kind).is_dir() for kind in ("videos", "calibration"))
            stores, root = [store], parent if filmed else None
        else:
            root = session_folder(config, name)
            urls = [self.store or str(root / "session.zarr"), *map(str, sorted(root.glob("session-prune-*.zarr")))]
            stores = [Store(url.rstrip("/")) for url in (*urls, str(root / "truth.zarr"))]
        there = [store for store in stores[1:] if store.exists()]
        stores[0].expect()
        return root, [stores[0], *there]

    def _one(self, store: Store, screen: Screen) -> tuple[list[str], tuple[str, ...], set[str]]:
        """What was damaged in a store, which groups carry no checksums, and which a stage has to complete."""
        from ..core.storage.repair import repair
        from ..core.storage.verify import examine

        examined = examine(store)
        for damage in examined.damages:
            screen.say(f"damaged: {store.url}: {damage.what}")
        touched = set(repair(store)) if examined.damages and self.repair else set()
        return [damage.what for damage in examined.damages], examined.without_checksums, touched

    def _compute(self, config: Config, screen: Screen, root: Path | None, rig: Store) -> None:
        """Run the stages whose results were there."""
        from ..pipeline import Job, run

        there = [stage for group, stage in STAGE_OF.items() if rig.attrs(group)]
        if root is None or not there:
            screen.say("next: run the command again that made it; it computes what is missing")
            return
        last = max(STAGES.index(stage) for stage in there)
        run(Job(str(root), config, STAGES[: last + 1], store=rig.url), screen)


def changed_clips(store: Store, root: Path) -> list[str]:
    """Files of which results were computed, and whose content is another although size and time are the same."""
    changed = []
    for name, (size, time_ns, sha256) in store.attrs("_content").get("sha256", {}).items():
        path = root / name
        if not path.is_file() or (path.stat().st_size, path.stat().st_mtime_ns) != (size, time_ns):
            continue
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                changed.append(name)
    return changed
