"""Every command of the command line, and the flags that it takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from typing import get_args

import tyro

from handpipe.cli import COMMANDS
from handpipe.core.flags import POSITIONAL, SettingsFlags, arguments, own_flags
from handpipe.settings import Config, load_config


def every_command() -> Iterator[tuple[str, type]]:
    """Names as on the command line, and classes."""
    for name, entry in COMMANDS.items():
        found = entry.load()
        if isinstance(found, type):
            yield name, found
        else:
            yield from ((f"{name} {each}", command) for each, command in found.commands.items())


def settings_flags(cls: type) -> SettingsFlags | None:
    """The flags of the settings; None for a command without settings."""
    columns = arguments(cls, tyro.MISSING_NONPROP)
    return SettingsFlags(Config, cls.short, own_flags(columns)) if "config" in columns else None


def flags_of(cls: type) -> set[str]:
    """Every flag, with its dashes."""
    columns = arguments(cls, tyro.MISSING_NONPROP)
    names = own_flags(columns) | {"help", "help-all"}
    for hint, _ in columns.values():
        inner = get_args(hint)[0]
        if is_dataclass(inner):
            names |= {field.name.replace("_", "-") for field in fields(inner)}
        names |= {each.name for each in hint.__metadata__ if getattr(each, "name", None)}
        aliases = [alias for each in hint.__metadata__ for alias in getattr(each, "aliases", None) or ()]
        names |= {alias.removeprefix("--") for alias in aliases}
    flags = settings_flags(cls)
    if flags is not None:
        names |= {name for key in flags.reached() for name in flags.names(key)}
    negated = {".".join((*name.split(".")[:-1], f"no-{name.split('.')[-1]}")) for name in names}
    return {f"--{name}" for name in names | negated}


def required(cls: type) -> list[str]:
    """A command line with only what has to be given."""
    words = []
    for name, (hint, default) in arguments(cls, cls.default(load_config(None, None)[0])).items():
        if (default is MISSING or default is tyro.MISSING) and not is_dataclass(get_args(hint)[0]):
            words += ["x"] if POSITIONAL in hint.__metadata__ else [f"--{name.replace('_', '-')}", "x"]
    return words
