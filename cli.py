"""The command line: parsing and dispatch. `main` turns what is wrong into one sentence and an exit status."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import Annotated, Any

import tyro
from pydantic import ValidationError

# Before anything imports these libraries: no chatter of theirs between our lines.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
os.environ.setdefault("GLOG_minloglevel", "3")

from .commands import Command, Group, exports, generation, imports, sessions
from .core.config import explain
from .core.errors import ConfigError, HandpipeError
from .pipeline import Config, load_config
from .screen import Screen

DONE, FAILED, WRONG = 0, 1, 2

COMMANDS: Mapping[str, type[Command] | Group] = {
    "run": sessions.Run,
    "calibrate": sessions.Calibrate,
    "detect": sessions.Detect,
    "triangulate": sessions.Triangulate,
    "fit": sessions.Fit,
    "synthesize": sessions.Synthesize,
    "train-diffusion": generation.TrainDiffusion,
    "generate": generation.Generate,
    "train-evaluator": generation.TrainEvaluator,
    "evaluate": generation.Evaluate,
    "augment": generation.Augment,
    "export": exports.EXPORT,
    "import": imports.IMPORT,
}


def main(argv: list[str] | None = None) -> int:
    """Entry point. Returns the exit status: 0 done, 2 wrong usage or input; a failure of ours raises."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        _dispatch(argv)
        return DONE
    except HandpipeError as error:
        if "--debug" in argv:
            raise
        print(f"handpipe: {error}", file=sys.stderr)
        return WRONG
    except OSError as error:
        if "--debug" in argv or error.filename is None:
            raise
        print(
            f"handpipe: {error.filename}: expected to read or write it, but the system refused ({error.strerror}). "
            "Check that it is there, what it is, and who may use it.",
            file=sys.stderr,
        )
        return WRONG
    except MemoryError as error:
        if "--debug" in argv:
            raise
        # A damaged file can say that it is of any size; so can one that is only too long.
        print(
            f"handpipe: expected data that fits into the memory, but it does not ({error or 'none is left'}). "
            "Check that the files are what you mean, and cut them into shorter parts.",
            file=sys.stderr,
        )
        return WRONG
    except KeyboardInterrupt:
        print("handpipe: interrupted; what is done is kept, the same command continues", file=sys.stderr)
        return FAILED


def _dispatch(argv: list[str]) -> None:
    config, _ = load_config(None, None)
    command = _parse(argv, config)
    file, session = command.config_sources()
    if file is not None or session is not None:
        # The flags stand over these files: parse again, now with their values as the defaults.
        config, _ = load_config(file, session)
        command = _parse(argv, config)
    figures = command.execute(config, Screen())
    if command.json:
        print(json.dumps(figures, indent=1))


def _parse(argv: list[str], config: Config) -> Any:
    """The command with its options; leaves with status 2 and the usage when they are wrong."""
    commands = _one_of(COMMANDS, config)
    try:
        return tyro.cli(commands, args=argv, prog="handpipe", description="Clips of two hands in, MANO in Zarr out.")
    except ValidationError as error:
        raise ConfigError(explain(Config, "command line", error)) from error


def _one_of(commands: Mapping[str, type[Command] | Group], config: Config) -> Any:
    """The union of the commands, as tyro takes subcommands."""
    union: list[Any] = []
    for name, command in commands.items():
        if isinstance(command, Group):
            group = tyro.conf.subcommand(name, description=command.title)
            union.append(Annotated[_one_of(command.commands, config), group])
        else:
            union.append(Annotated[command, tyro.conf.subcommand(name, default=command.default(config))])
    return reduce(or_, union)


if __name__ == "__main__":
    sys.exit(main())
