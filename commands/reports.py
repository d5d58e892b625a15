"""`handpipe report`: a session's results as one HTML file."""

# Ring 2: reads and writes.

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from ..core.errors import ConfigError
from ..screen import Screen
from ..settings import Config, session_folder
from . import Configured


@dataclass(frozen=True)
class Report(Configured):
    """Write a session's report: one HTML file with the verdict, a player and charts. It needs no network."""

    common = ("hand_model",)
    sections = ("hand_model",)

    session: Annotated[Positional[str], arg(metavar="SESSION")]
    """A session folder, or the name of a session in pipeline.yaml."""
    out: Annotated[Path | None, arg(metavar="FILE")] = None
    """The file to write, replaced if it exists. Default: report.html in the session folder."""
    views: Annotated[tuple[str, ...], arg(metavar="VIEW...")] = ()
    """Up to six views for the player. Default: views that see the hands often, from different sides."""
    store: str | None = None
    """Where the results are: a folder or an fsspec URL. Default: session.zarr in the session folder."""
    prune: Annotated[int | None, arg(metavar="N")] = None
    """Show the results of `--prune N`."""

    def config_sources(self) -> tuple[Path | None, str | None]:
        return self.config, self.session or None

    def execute(self, config: Config, screen: Screen) -> dict[str, Any]:
        from ..core.storage.store import Store
        from ..reporting.report import write_report
        from ..reporting.results import find_stores, read_results
        from ..summary import against_truth

        root = session_folder(config, self.session)
        out = self.out or root / "report.html"
        if out.is_dir():
            raise ConfigError(f"--out {out}: expected a file to write, but found a folder. Add a file name.")
        store, rig = find_stores(root, self.store, self.prune)
        truth = Store(str(root / "truth.zarr"))
        known = truth.exists() and rig.complete("cameras")
        results = read_results(root, store, rig, config.hand_model)
        figures = write_report(results, out, self.views, against_truth(store, rig, truth) if known else {})
        if figures["missing"]:
            screen.say(f"not computed yet: {', '.join(figures['missing'])}; `handpipe run {self.session}` computes it")
        screen.say(f"{out}: {figures['verdict']}, {figures['megabytes']:.1f} MB. Open it in a browser.")
        return figures
