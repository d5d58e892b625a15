"""Settings as flags: the path of every key is a flag, `fitting.robust_scale` is --fitting.robust-scale.

A command line is parsed into a form that is made for it: the arguments of the command, and the settings. What was given
becomes a layer of settings like those from YAML, so that one rule checks both.
"""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, make_dataclass
from inspect import get_annotations
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError
from tyro.conf import Positional, arg
from tyro.constructors import PrimitiveConstructorSpec

from .config import COMMAND_LINE, Key, Layer, field_docs, keys, parse_yaml, renamed
from .errors import ConfigError
from .units import length, metres, unit_length

Column = tuple[Any, Any]
"""A field of a form: its annotation and its default."""

POSITIONAL = get_args(Positional[int])[1]

METAVARS: Mapping[type, str] = {int: "INT", float: "FLOAT", str: "TEXT", Path: "PATH"}


def _length_flag(read: Callable[[str], float]) -> PrimitiveConstructorSpec[Any]:
    def from_words(words: list[str]) -> float:
        try:
            return read(words[0])
        except PydanticCustomError as error:
            raise ValueError(f"{error.message()}, but found '{words[0]}'.") from error

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="LENGTH",
        instance_from_str=from_words,
        is_instance=lambda value: value is None or isinstance(value, float | int),
        str_from_instance=lambda value: [str(value)],
    )


LENGTH, UNIT = _length_flag(length), _length_flag(unit_length)
"""Annotations of flags that take 0.04 or `4 cm`, and 0.01 or `cm`."""


@dataclass(frozen=True)
class SettingsFlags:
    """The flags of a settings class in one command."""

    cls: type
    short: Collection[str]
    """Sections whose keys may also be given without the section's name: --steps for --training.steps."""
    taken: Collection[str]
    """Flags that mean something else in this command, without the dashes."""

    def names(self, key: Key) -> list[str]:
        """The flags of a key, without the dashes: the full path last."""
        paths = [".".join(key.path[1:])] if len(key.path) > 1 and key.path[0] in self.short else []
        names = [path.replace("_", "-") for path in (*paths, str(key))]
        return [name for name in names if name not in self.taken]

    def reached(self) -> Iterator[Key]:
        """The settings that have a flag here."""
        short = {name for key in keys(self.cls) if key.path[0] in self.short for name in self.names(key)[:-1]}
        for key in keys(self.cls):
            hidden = len(key.path) == 1 and str(key).replace("_", "-") in short
            if not key.is_section and not hidden and self.names(key):
                yield key

    def form(self, values: Any, shown: Collection[str] | None) -> Column:
        """These flags as one field of a form, with the values as defaults; `shown` are paths, None is all."""
        chosen = {key.path: key for key in self.reached() if shown is None or _below(str(key), shown)}

        def build(cls: Any, value: Any, above: tuple[str, ...]) -> Column:
            columns: dict[str, Column] = {}
            for name, hint in get_type_hints(cls, include_extras=True).items():
                path, default = (*above, name), getattr(value, name)
                if is_dataclass(hint) and any(key[: len(path)] == path for key in chosen):
                    columns[name] = build(hint, default, path)
                elif path in chosen:
                    columns[name] = self._leaf(chosen[path], default, _is_length(hint))
            made = form(columns, cls)
            return made, made()

        made, instance = build(self.cls, values, ())
        return Annotated[made, arg(name="")], instance

    def _leaf(self, key: Key, default: Any, is_length: bool) -> Column:
        hint = Annotated[key.type, LENGTH] if is_length else key.type
        if not _is_plain(hint):
            hint, default = Annotated[str, arg(metavar="YAML")], str(default) if default else ""
        *aliases, _ = self.names(key)
        return described(hint, key.help, default, [f"--{alias}" for alias in aliases]), default

    def layer(self, argv: Sequence[str], form: Any) -> Layer:
        """What the command line sets, with the values that tyro read into the form."""
        flags = {name: key for key in self.reached() for path in self.names(key) for name in (path, _negated(path))}
        result: dict[str, Any] = {}
        for name in flag_names(argv):
            if name not in flags:
                continue
            key = flags[name]
            value, below = form, result
            for part in key.path:
                value = getattr(value, part)
            if not _is_plain(key.type):
                value = parse_yaml(f"--{name}", value)
            for part in key.path[:-1]:
                below = below.setdefault(part, {})
            below[key.path[-1]] = value
        return COMMAND_LINE, result


def flag_names(argv: Sequence[str]) -> list[str]:
    """The flags on a command line, without dashes and values, spelled as this module spells them."""
    return [word[2:].partition("=")[0].replace("_", "-") for word in argv if word.startswith("--")]


def check_renamed(argv: Sequence[str]) -> None:
    """Refuse flags of keys that have another name now.

    Raises:
        ConfigError: with the new flag.
    """
    for name in flag_names(argv):
        if new := renamed(name):
            raise ConfigError(f"'--{name}' is now '--{new.replace('_', '-')}'. Use the new flag.")


def arguments(cls: Any, default: Any) -> dict[str, Column]:
    """The fields of a command, its own before those of the classes it inherits from.

    Args:
        cls: a dataclass.
        default: an instance, or `tyro.MISSING_NONPROP` where the fields' own defaults hold.
    """
    hints = get_type_hints(cls, include_extras=True)
    by_name = {each.name: each for each in fields(cls)}
    columns: dict[str, Column] = {}
    for base in cls.__mro__:
        for name in get_annotations(base):
            if name in by_name and name not in columns:
                value = getattr(default, name, by_name[name].default)
                columns[name] = described(hints[name], field_docs(base).get(name), value), value
    return columns


def own_flags(columns: Mapping[str, Column]) -> set[str]:
    """Which of these are flags, not positional; without the dashes."""
    return {name.replace("_", "-") for name, (hint, _) in columns.items() if POSITIONAL not in hint.__metadata__}


def form(columns: Mapping[str, Column], like: type | None = None) -> type:
    """A class with these fields, for tyro; `like` gives its name and docstring."""
    made = [
        (name, hint, field() if value is MISSING else field(default=value)) for name, (hint, value) in columns.items()
    ]
    doc = {"__doc__": like.__doc__ if like is not None else ""}
    return make_dataclass(like.__name__ if like is not None else "Form", made, namespace=doc, kw_only=True, frozen=True)


def described(hint: Any, text: str | None, default: Any, aliases: Sequence[str] = ()) -> Any:
    """An annotation with its help for tyro. Without "(default: None)": the text says what None means."""
    plain = [each for each in get_args(_stripped(hint)) if each is not type(None)]
    optional = get_origin(_stripped(hint)) in (Union, UnionType)
    metavar = METAVARS.get(_stripped(plain[0])) if optional and len(plain) == 1 else None
    first = arg(metavar=metavar)
    hidden = arg(help_behavior_hint="") if default is None or default is False or default in ("", ()) else arg()
    # The annotation's own `arg` stands over the metavar made here.
    own = hint.__metadata__ if get_origin(hint) is Annotated else ()
    return Annotated[_stripped(hint), first, *own, arg(help=text, aliases=tuple(aliases) or None), hidden]


def _stripped(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _is_length(hint: Any) -> bool:
    """Whether a setting may have a unit in YAML."""
    checks = hint.__metadata__ if get_origin(hint) is Annotated else ()
    return any(isinstance(check, BeforeValidator) and check.func is metres for check in checks)


def _is_plain(hint: Any) -> bool:
    """Whether it can be written as one word or several, without brackets."""
    hint = _stripped(hint)
    if get_origin(hint) in (Union, UnionType):
        return all(_is_plain(each) for each in get_args(hint))
    if get_origin(hint) is tuple:
        return get_args(hint)[0] in METAVARS
    return hint in METAVARS or hint in (bool, type(None)) or get_origin(hint) is Literal


def _negated(name: str) -> str:
    head, _, last = name.rpartition(".")
    return f"{head}.no-{last}" if head else f"no-{last}"


def _below(path: str, shown: Collection[str]) -> bool:
    return any(path == each or path.startswith(f"{each}.") for each in shown)
