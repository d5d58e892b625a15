"""`handpipe report`: results as one HTML file, of a session, of generated motion or of a training."""

# Ring 2: reads and writes.

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from ..core.errors import ConfigError
from ..core.storage.opened_arrays import METADATA
from ..screen import Screen
from ..settings import Config, session_folder
from . import Configured


@dataclass(frozen=True)
class Report(Configured):
    """Write a report: one HTML file with a player and charts; of a session also the verdict. It needs no network.

    SESSION can also be a store that `handpipe generate` wrote, or the folder of a checkpoint of a training.
    """

    common = ("hand_model",)
    sections = ("hand_model",)

    session: Annotated[Positional[str], arg(metavar="SESSION")]
    """A session folder, or the name of a session in pipeline.yaml; or generated motion, or a checkpoint."""
    out: Annotated[Path | None, arg(metavar="FILE")] = None
    """The file to write, replaced if it exists. Default: report.html in the session folder or the checkpoint, or beside
    the generated motion with its name."""
    reference: Annotated[str | None, arg(metavar="SESSION")] = None
    """Real motion to compare generated motion with: a session folder or a store."""
    views: Annotated[tuple[str, ...], arg(metavar="VIEW...")] = ()
    """Up to six views for the player. Default: views that see the hands often, from different sides."""
    store: str | None = None
    """Where the results are: a folder or an fsspec URL. Default: session.zarr in the session folder."""
    prune: Annotated[int | None, arg(metavar="N")] = None
    """Show the results of `--prune N`."""

    def config_sources(self) -> tuple[Path | None, str | None]:
        return self.config, None if _kind(Path(self.session)) else self.session or None

    def execute(self, config: Config, screen: Screen) -> dict[str, Any]:
        place = Path(self.session)
        kind = _kind(place)
        beside = place.with_name(f"{place.resolve().stem}.html") if kind == "generated" else None
        root = place if kind else session_folder(config, self.session)
        out = self.out or beside or root / "report.html"
        if out.is_dir():
            raise ConfigError(f"--out {out}: expected a file to write, but found a folder. Add a file name.")
        if self.reference is not None and kind != "generated":
            raise ConfigError(
                f"--reference {self.reference}: expected generated motion to compare with it, but {place} is none. "
                "Leave it out."
            )
        if kind is None:
            return self._of_session(root, out, config, screen)
        figures = self._of_generated(place, out, config) if kind == "generated" else _of_training(place, out)
        screen.say(f"{out}: {figures['megabytes']:.1f} MB. Open it in a browser.")
        return figures

    def _of_generated(self, place: Path, out: Path, config: Config) -> dict[str, Any]:
        from ..core.storage.store import Store
        from ..hand.stored_motion import motion_store
        from ..reporting.generated import write_generated_report

        reference = None if self.reference is None else (self.reference, motion_store(self.reference))
        return write_generated_report(Store(str(place)), out, reference, config.hand_model)

    def _of_session(self, root: Path, out: Path, config: Config, screen: Screen) -> dict[str, Any]:
        from ..core.storage.store import Store
        from ..reporting.report import write_report
        from ..reporting.results import find_stores, read_results
        from ..summary import against_truth

        store, rig = find_stores(root, self.store, self.prune)
        truth = Store(str(root / "truth.zarr"))
        known = truth.exists() and rig.complete("cameras")
        results = read_results(root, store, rig, config.hand_model)
        figures = write_report(results, out, self.views, against_truth(store, rig, truth) if known else {})
        if figures["missing"]:
            screen.say(f"not computed yet: {', '.join(figures['missing'])}; `handpipe run {self.session}` computes it")
        screen.say(f"{out}: {figures['verdict']}, {figures['megabytes']:.1f} MB. Open it in a browser.")
        return figures


def _kind(place: Path) -> Literal["generated", "training"] | None:
    """What is there, if it is no session."""
    if (place / "config.json").is_file():
        return "training"
    if not (place / METADATA).is_file():
        return None
    from ..core.storage.store import Store

    store = Store(str(place))
    return "generated" if store.complete("mano") and store.read("mano", "valid").ndim == 3 else None


def _of_training(place: Path, out: Path) -> dict[str, Any]:
    from ..generation import checkpoint
    from ..reporting.training import write_training_report

    return write_training_report(place, checkpoint.load(place).config, out)
