"""The commands, one module for each family: what a command takes, and what it does with it.

A command is a frozen dataclass: its fields are its arguments and flags, its docstrings their help. It imports when it
runs what only it needs: PyTorch and its kin take seconds to load, and only who trains or generates waits for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import arg

from ..pipeline import Config
from ..screen import Screen

AsJson = Annotated[bool, arg(help="Print the summary as JSON on standard output.")]
Debug = Annotated[bool, arg(help="Show the traceback of an error.")]
ConfigFile = Annotated[Path | None, arg(help="A YAML file with settings, over handpipe's own pipeline.yaml.")]
HandModelFolder = Annotated[
    str | None, arg(help="Folder with MANO_LEFT.npz and MANO_RIGHT.npz; None is the procedural hand.")
]
"""What most commands take, each with its help."""


class Command:
    """What `cli.py` asks of a command, besides being a frozen dataclass."""

    json: bool
    """Print on standard output what `execute` returns."""
    config: Path | None = None
    """A YAML file with settings; a command that has none does not take `--config`."""

    @classmethod
    def default(cls, config: Config) -> Any:
        """The command where no flag is given; `tyro.MISSING` for what has to be."""
        return tyro.MISSING_NONPROP

    def config_sources(self) -> tuple[Path | None, str | None]:
        """The file and the session whose settings stand between pipeline.yaml and the flags."""
        return self.config, None

    def execute(self, config: Config, screen: Screen) -> dict[str, Any]:
        """Do it, and say on the screen what was done; returns the same in figures.

        Raises:
            HandpipeError: the input or the settings are wrong.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Group:
    """Commands under a common name, as in `handpipe import mano`."""

    title: str
    commands: Mapping[str, type[Command]]
