"""Recording: `handpipe cameras` lists what is connected, `handpipe record` films a session."""

# Ring 2: reads and writes.

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from ..capture.recording.settings import RigConfig
from ..core.config import build, read_yaml
from ..core.errors import ConfigError
from ..screen import Row, Screen, duration
from ..settings import Config, load_config
from . import Reporting
from .recording_hosts import address_of, joined
from .recording_screen import LiveTable

if TYPE_CHECKING:
    from ..capture.recording.live.page import Page


@dataclass(frozen=True, kw_only=True)
class ListCameras(Reporting):
    """List the cameras that are connected, and what is missing to use others."""

    rig: Annotated[Path | None, arg(name="config", metavar="rig.yaml")] = None
    """A rig's settings, for the paths of GenTL producers."""

    def execute(self, config: Config, screen: Screen) -> dict[str, Any]:
        from ..capture.recording.backends.registry import backend, backend_names
        from ..capture.recording.camera import RecordingError

        rig = RigConfig() if self.rig is None else read_rig(self.rig)
        found: list[dict[str, Any]] = []
        missing: dict[str, str] = {}
        for name in backend_names():
            try:
                kind = backend(name, rig)
                missing[name] = kind.missing()
                found += [] if missing[name] else [asdict(info) for info in kind.find()]
            except RecordingError as error:
                missing[name] = str(error)
        rows = {}
        for name, why in missing.items():
            mine = [each for each in found if each["backend"] == name]
            rows[name] = [Row(each["serial"], _described(each)) for each in mine]
            if why:
                rows[name].append(Row("not usable", why, "warning"))
            elif not mine:
                rows[name].append(Row("none found", ""))
        screen.table("cameras", rows)
        return {"cameras": found, "missing": {name: why for name, why in missing.items() if why}}


def _described(info: dict[str, Any]) -> str:
    parts = [info["model"]] if info["model"] else []
    if info["size_px"]:
        parts.append("{}x{}".format(*info["size_px"]))
    if info["rate"]:
        parts.append(f"{info['rate']:g} fps")
    return ", ".join(parts)


@dataclass(frozen=True, kw_only=True)
class Record(Reporting):
    """Record from cameras to a session that `handpipe run` accepts; every frame is kept or entered as missing.

    Takes are numbered: SESSION/take-001, take-002, ... End a take with q, Enter, Ctrl-C, or --duration-s.
    """

    session: Annotated[Positional[Path], arg(metavar="SESSION")]
    """Folder of the rig's recordings; created if missing."""
    rig: Annotated[Path, arg(name="config", metavar="rig.yaml")]
    """The rig: cameras, rate, trigger, encoder (docs/recording.md)."""
    calibration: bool = False
    """Film the board with all cameras, for SESSION/calibration, which all takes share."""
    intrinsics: Annotated[str | None, arg(metavar="CAMERA")] = None
    """Film the board with this camera alone, close, for its lens."""
    duration_s: float | None = None
    """Length of the recording, seconds. Default: that of rig.yaml."""
    rate: float | None = None
    """Frames per second. Default: that of rig.yaml."""
    page: bool = False
    """Show all views in the browser while it is recorded."""
    page_address: str = "127.0.0.1:8470"
    """Address and port of the page. Other addresses than 127.0.0.1 make it visible in the network; it then needs a
    token, which is part of the printed address. Port 0: any free one."""
    leader: Annotated[str | None, arg(metavar="ADDRESS:PORT")] = None
    """Record together with other computers, which `--join` this one; wait for them at this address. Other addresses
    than 127.0.0.1 need a token, which is printed (or is in the variable HANDPIPE_TOKEN). Port 0: any free one."""
    others: int = 1
    """Number of computers that join."""
    join: Annotated[str | None, arg(metavar="TOKEN@HOST:PORT")] = None
    """Record together with the computer that leads there: it starts and ends the recording, and says how long it is."""
    then: Literal["run"] | None = None
    """What to do with the take afterwards: `run` goes on to MANO."""

    def execute(self, config: Config, screen: Screen) -> dict[str, Any]:
        from ..capture.recording.opening import check_rig, open_cameras
        from ..capture.recording.place import place_for, share_with_takes
        from ..capture.recording.recorder import Recording
        from .recording_live import watching

        rig = self._rig()
        check_rig(rig)
        kind = "calibration" if self.calibration else "take" if self.intrinsics is None else "intrinsics"
        place = place_for(self.session, kind, self.intrinsics)
        page = self._page()
        guided = build(Config, [(f"{self.rig}: session", rig.session)]) if self.calibration else None
        with joined(self, rig, kind, screen) as (rig, together):
            opened = open_cameras(rig)
            try:
                recording = Recording(opened, place, rig.session, together)
                table = LiveTable(screen, str(place.root))
                with ending(recording.stop), watching(recording, table, page, guided) as watch:
                    record = recording.run(watch)
            finally:
                opened.close()
        if kind != "take":
            share_with_takes(self.session)
        report(screen, record)
        figures = {"recording": str(place.root)} | record
        if kind == "take":
            if together is not None:
                screen.say("next: copy the folders of all computers to one, and `handpipe merge` them")
                return figures
            if self.then == "run":
                return figures | {"run": run_take(place.root, screen)}
            screen.say(f"next: `handpipe run {place.root}`")
        return figures

    def _page(self) -> Page | None:
        if not self.page:
            return None
        from ..capture.recording.live.page import Page

        return Page(*address_of("--page-address", self.page_address))

    def _rig(self) -> RigConfig:
        """The rig, with what the flags say."""
        flags = {key: value for key in ("duration_s", "rate") if (value := getattr(self, key)) is not None}
        rig = read_rig(self.rig, flags)
        if self.intrinsics is None:
            return rig
        if self.calibration:
            raise ConfigError("--intrinsics: expected it without --calibration, but found both. Record one by one.")
        if self.intrinsics not in rig.cameras:
            raise ConfigError(
                f"--intrinsics {self.intrinsics}: expected a camera of {self.rig} ({', '.join(rig.cameras)}). "
                "Correct it."
            )
        return replace(rig, cameras={self.intrinsics: rig.cameras[self.intrinsics]})


def read_rig(path: Path, flags: dict[str, Any] | None = None) -> RigConfig:
    """The settings of a rig. Raises ConfigError for a wrong key or value, and for settings that no session has."""
    try:
        rig = build(RigConfig, [read_yaml(path), ("command line", flags or {})])
    except ConfigError as error:
        raise ConfigError(str(error).replace("docs/configuration.md", "docs/recording.md")) from error
    build(Config, [(f"{path}: session", rig.session)])
    return rig


def run_take(take: Path, screen: Screen) -> dict[str, Any]:
    """`handpipe run` on a take."""
    from .sessions import Run

    config, _ = load_config(None, str(take))
    return Run(sessions=(str(take),)).execute(config, screen)


@contextmanager
def ending(stop: threading.Event) -> Iterator[None]:
    """Set `stop` on Ctrl-C, on SIGTERM, and when q or Enter is typed at a terminal."""

    def asked(*_: object) -> None:
        stop.set()

    # Only the main thread gets signals; elsewhere whoever started the thread stops it.
    main = threading.current_thread() is threading.main_thread()
    before = {each: signal.signal(each, asked) for each in (signal.SIGINT, signal.SIGTERM)} if main else {}
    try:
        with _keys(asked):
            yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextmanager
def _keys(asked: Callable[[], None]) -> Iterator[None]:
    """Call `asked` when q or Enter is typed."""
    if not sys.stdin.isatty() or sys.platform == "win32":  # Windows cannot wait for a terminal; Ctrl-C ends it there.
        yield
        return
    ended = threading.Event()

    def listen() -> None:
        import select

        while not ended.is_set():
            ready = select.select([sys.stdin], [], [], 0.2)[0]
            if ready and sys.stdin.readline().strip().casefold() in ("", "q"):
                asked()
                return

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def report(screen: Screen, record: dict[str, Any]) -> None:
    """The figures of a recording."""
    rows = []
    for name, each in record["cameras"].items():
        missing = sum(each["missing"].values())
        why = ", ".join(f"{count} {reason}" for reason, count in each["missing"].items())
        rows.append(Row(name, f"{each['frames']} frames, {missing} missing" + (f" ({why})" if why else ""),
                        "warning" if missing else None))  # fmt: skip
    general = [Row("length", f"{duration(record['seconds'])}, {record['instants']} instants")]
    if record["skew"] is not None:
        error = record["skew"]["error_s"]
        known = "" if error is None else f" +- {1e3 * error:.2f}"
        general.append(Row("views apart", f"{1e3 * record['skew']['median_s']:.2f}{known} ms (median)"))
    general.append(Row("memory", f"{record['peak_memory_mb']:.0f} MB at the most"))
    screen.table("recorded", {"recording": general, "cameras": rows})
    for note in record["notes"]:
        screen.say(f"warning: {note}")
