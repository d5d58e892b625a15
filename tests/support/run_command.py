"""A command as the command line runs it, without the flags of the settings: to read those takes a second."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import tyro

from handpipe.commands import Command
from handpipe.core.errors import HandpipeError
from handpipe.screen import Screen
from handpipe.settings import Config, load_config


@cache
def _config() -> Config:
    return load_config(None, None)[0]


def run_command(cls: type[Command], *argv: object) -> dict[str, Any]:
    """The figures of a command."""
    return tyro.cli(cls, args=[str(word) for word in argv]).execute(_config(), Screen())


def refusal(cls: type[Command], *argv: object) -> str:
    """What a command says instead, in one line."""
    with pytest.raises(HandpipeError) as found:
        run_command(cls, *argv)
    return " ".join(str(found.value).split())
