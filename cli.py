"""The command line: parsing and dispatch. `main` turns errors into one sentence and an exit status.

A command's module is imported when the command is named, so that help and `--version` do not wait for the others.
"""

# Ring 2: reads and writes.

from __future__ import annotations

import inspect
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from shutil import get_terminal_size
from textwrap import wrap
from typing import TYPE_CHECKING, Any, NoReturn

# Before anything imports these libraries: no chatter of theirs between our lines.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
os.environ.setdefault("GLOG_minloglevel", "3")

from . import __version__
from .core.errors import ConfigError, HandpipeError, sentence

if TYPE_CHECKING:
    from .commands import Command, Group

DONE, FAILED, WRONG, NOT_USABLE = 0, 1, 2, 3

HELP, HELP_ALL = ("-h", "--help"), "--help-all"


@dataclass(frozen=True)
class Entry:
    """A command or a group of commands, imported on demand."""

    module: str
    name: str
    summary: str

    def load(self) -> type[Command] | Group:
        return getattr(import_module(f".commands.{self.module}", __package__), self.name)


COMMANDS: Mapping[str, Entry] = {
    "board": Entry("checks", "PrintBoard", "Draw the calibration board to scale, as a PDF to print."),
    "cameras": Entry("recording", "ListCameras", "List connected cameras, and what is missing to use others."),
    "record": Entry("recording", "Record", "Record from cameras to a session; every frame is kept or accounted for."),
    "merge": Entry("recording_hosts", "Merge", "Make one session of what several computers recorded together."),
    "doctor": Entry("checks", "Doctor", "Examine a session for faults before anything is computed."),
    "run": Entry("sessions", "Run", "Run every stage of sessions that is missing or out of date."),
    "calibrate": Entry("sessions", "Calibrate", "Calibrate the cameras, or read a calibration."),
    "detect": Entry("sessions", "Detect", "Detect 2D hands in every view and frame."),
    "triangulate": Entry("sessions", "Triangulate", "Triangulate 3D keypoints from all views."),
    "fit": Entry("sessions", "Fit", "Fit MANO to the keypoints of both hands."),
    "status": Entry("status", "Status", "Show how far sessions are and how they were judged; computes nothing."),
    "verify": Entry("integrity", "Verify", "Check that results and clips are as they were written, and repair them."),
    "report": Entry("reports", "Report", "Write a session's report: one HTML file with a player and charts."),
    "render": Entry("pictures", "Render", "Render hands over the footage, or on a turntable, as a clip or a picture."),
    "view": Entry("pictures", "View", "Show a session or generated motion in the Rerun viewer."),
    "train-detector": Entry("sessions", "TrainDetector", "Train a 2D detector on what the views of a rig agree on."),
    "synthesize": Entry("sessions", "Synthesize", "Render a synthetic session with ground truth."),
    "train-diffusion": Entry("generation", "TrainDiffusion", "Train a diffusion model of two-hand motion."),
    "generate": Entry("generation", "Generate", "Generate two-hand motion from a checkpoint."),
    "train-evaluator": Entry("generation", "TrainEvaluator", "Train the feature extractor for `evaluate`."),
    "evaluate": Entry("generation", "Evaluate", "Compare generated with real motion."),
    "augment": Entry("generation", "Augment", "Render motion as training data with labels."),
    "export": Entry("exports", "EXPORT", "Write motion or cameras in other tools' formats."),
    "import": Entry("imports", "IMPORT", "Read hand models, motion and keypoints from other tools."),
    "config": Entry("configuration", "ShowConfig", "Print the settings in effect and where each comes from."),
}


def main(argv: list[str] | None = None) -> int:
    """Entry point. Returns the exit status: 0 done, 2 wrong usage or input, 3 done but not usable."""
    if argv is None:
        # A batch system's way to say it: workers are stopped and the lock is given back, as after ctrl-C.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        argv = sys.argv[1:]
    try:
        return _dispatch(argv)
    except (HandpipeError, OSError, MemoryError) as error:
        text = sentence(error)
        if "--debug" in argv or text is None:
            raise
        print(f"handpipe: {text}", file=sys.stderr)
        return WRONG
    except KeyboardInterrupt:
        print("handpipe: interrupted; what is done is kept, the same command continues", file=sys.stderr)
        return FAILED


def _dispatch(argv: Sequence[str]) -> int:
    name, command_class, rest = find_command(argv)

    from .core.config import build
    from .screen import Screen
    from .settings import Config, load_config

    config, layers = load_config(None, None)
    command, flags = parse(name, command_class, rest, config)
    file, session = command.config_sources()
    if file is not None or session is not None:
        # The flags override these files: parse again, now with their values as the defaults.
        config, layers = load_config(file, session)
        command, flags = parse(name, command_class, rest, config)
    layers = [*layers, flags]
    figures = command.execute_layers(build(Config, layers), layers, Screen())
    if command.json:
        print(json.dumps(figures, indent=1))
    return exit_status(figures)


def exit_status(figures: Mapping[str, Any]) -> int:
    """What a command's figures say: WRONG if a session of many failed, NOT_USABLE if a result cannot be used."""
    sessions = figures.get("sessions", ())
    if any(each.get("state") == "failed" for each in sessions if isinstance(each, Mapping)):
        return WRONG
    judged = [figures, *sessions]
    unusable = (each.get("quality", {}).get("verdict") == "not usable" for each in judged if isinstance(each, Mapping))
    return NOT_USABLE if any(unusable) else DONE


def find_command(argv: Sequence[str]) -> tuple[str, type[Command], Sequence[str]]:
    """The command that is named, what it is called, and its arguments; help and version end here."""
    if argv[:1] == ["--version"]:
        print(f"handpipe {__version__}")
        sys.exit(DONE)
    summaries = {name: entry.summary for name, entry in COMMANDS.items()}
    name = _name(argv, "handpipe", "Two-hand motion capture: clips in, MANO sequences in Zarr out.", summaries)
    found, called, rest = COMMANDS[name].load(), f"handpipe {name}", argv[1:]
    if not isinstance(found, type):
        title, commands = found.title, found.commands
        summaries = {each: (command.__doc__ or "").partition("\n\n")[0] for each, command in commands.items()}
        name = _name(rest, called, title, summaries)
        found, called, rest = commands[name], f"{called} {name}", rest[1:]
    return called, found, rest


def _name(argv: Sequence[str], prog: str, title: str, summaries: Mapping[str, str]) -> str:
    """The first word, which names a command.

    Raises:
        ConfigError: there is no such command.
        SystemExit: help is asked for, or nothing.
    """
    word = argv[0] if argv else HELP[1]
    if word in summaries:
        return word
    if word in (*HELP, HELP_ALL):
        _show_commands(prog, title, summaries)
    close = get_close_matches(word, summaries, 1)
    advice = f"Did you mean `{prog} {close[0]}`? " if close else ""
    raise ConfigError(f"{word}: expected a command. {advice}`{prog} --help` lists the commands.")


def _show_commands(prog: str, title: str, summaries: Mapping[str, str]) -> NoReturn:
    column = max(map(len, summaries)) + 4
    print(f"usage: {prog} COMMAND [OPTIONS]\n\n{title}\n\ncommands:")
    for name, summary in summaries.items():
        width = max(get_terminal_size((100, 24)).columns, column + 40)
        first, *more = wrap(" ".join(summary.split()), width - column) or [""]
        print(f"  {name:{column - 2}}{first}")
        for line in more:
            print(" " * column + line)
    version = "\n`handpipe --version` prints the version." if prog == "handpipe" else ""
    print(f"\n`{prog} COMMAND --help` shows the options of a command.{version}")
    sys.exit(DONE)


def parse(name: str, cls: type[Command], argv: Sequence[str], config: Any) -> tuple[Any, tuple[str, Mapping[str, Any]]]:
    """The command with its arguments, and the settings that its flags give.

    Args:
        name: what the command is called, `handpipe run`.
        cls: the command.
        argv: what follows its name.
        config: the settings before the flags: the defaults.

    Raises:
        ConfigError: a flag has another name now.
        SystemExit: with status 2, an argument is missing, unknown or of the wrong type; with 0 for help.
    """
    import tyro

    from .core.config import COMMAND_LINE
    from .core.flags import SettingsFlags, arguments, check_renamed, form, own_flags

    asked = [word for word in argv if word in (*HELP, HELP_ALL)]
    columns = arguments(cls, cls.default(config))
    text = inspect.cleandoc(cls.__doc__ or "")
    flags = None
    if "config" in columns:
        check_renamed(argv)
        flags = SettingsFlags(type(config), cls.short, own_flags(columns))
        shown = None if not asked else cls.sections if HELP_ALL in asked else cls.common
        columns["settings"] = flags.form(config, shown)
        if asked and HELP_ALL not in asked:
            text += f"\n\n`{name} --help-all` shows every setting that this command uses."
    parsed = tyro.cli(form(columns), prog=name, description=text, args=[HELP[1]] if asked else list(argv))
    values = {each: getattr(parsed, each) for each in columns}
    layer = flags.layer(argv, values.pop("settings")) if flags is not None else (COMMAND_LINE, {})
    return cls(**values), layer


if __name__ == "__main__":
    sys.exit(main())
