"""The commands, one module for each family: what a command takes, and what it does with it.

A command is a frozen dataclass: its fields are its arguments and flags, its docstrings their help. Settings are not
fields: every command that takes `--config` takes each of them as a flag too (core/flags.py). A command imports when it
runs what only it needs: PyTorch and its kin take seconds to load, and only who trains or generates waits for them.
"""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import tyro
from tyro.conf import arg

from ..core.config import Layer
from ..screen import Screen
from ..settings import Config

AsJson = Annotated[bool, arg(help="Print the summary as JSON on standard output.")]
Debug = Annotated[bool, arg(help="Show the traceback of an error.")]
ConfigFile = Annotated[Path | None, arg(help="A YAML file with settings; they override handpipe's pipeline.yaml.")]
"""What most commands take, each with its help."""


class Command:
    """What `cli.py` asks of a command, besides being a frozen dataclass."""

    common: ClassVar[tuple[str, ...]] = ()
    """Keys of the settings that `--help` shows."""
    sections: ClassVar[tuple[str, ...]] = ()
    """Keys and sections of the settings that the command uses: what `--help-all` shows. The others are accepted too."""
    short: ClassVar[tuple[str, ...]] = ()
    """Sections whose keys are flags without the section's name too."""
    json: bool
    """Print on standard output what `execute` returns."""
    config: Path | None = None
    """A YAML file with settings; a command that has no such field takes no settings."""

    @classmethod
    def default(cls, config: Config) -> Any:
        """The command where no flag is given; `tyro.MISSING` for what has to be."""
        return tyro.MISSING_NONPROP

    def config_sources(self) -> tuple[Path | None, str | None]:
        """The file and the session whose settings stand between pipeline.yaml and the flags."""
        return self.config, None

    def execute_layers(self, config: Config, layers: Sequence[Layer], screen: Screen) -> dict[str, Any]:
        """As `execute`, for commands that also ask where a setting comes from."""
        return self.execute(config, screen)

    def execute(self, config: Config, screen: Screen) -> dict[str, Any]:
        """Do it, and say on the screen what was done; returns the same in figures.

        Args:
            config: the settings, flags included.
            screen: for people.

        Raises:
            HandpipeError: the input or the settings are wrong.
        """
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Reporting(Command):
    """A command without settings: what all commands take."""

    json: AsJson = False
    debug: Debug = False


@dataclass(frozen=True, kw_only=True)
class Configured(Reporting):
    """A command with settings."""

    config: ConfigFile = None


@dataclass(frozen=True, kw_only=True)
class OnResults(Configured):
    """A command that hands results on: not those that cannot be used, unless it is told to."""

    accept: bool = False
    """Use results whose verdict is "not usable"."""

    def check_usable(self, names: Sequence[str]) -> None:
        """Raises GenerationError for sessions and stores whose verdict is "not usable", without `--accept`."""
        from ..hand.stored_motion import require_usable

        if not self.accept:
            for name in names:
                require_usable(name)


@dataclass(frozen=True)
class Group:
    """Commands under a common name, as in `handpipe import mano`."""

    title: str
    commands: Mapping[str, type[Command]]
