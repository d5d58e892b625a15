"""Settings from YAML and the command line, in layers, strictly.

Settings are frozen pydantic dataclasses: the defaults live in code, `pipeline.yaml` and `session.yaml` override them,
flags override those. Unknown keys and wrong types are errors that name the file and the key.
"""

# Ring 2: reads and writes.

from __future__ import annotations

import ast
import inspect
import json
import re
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from .errors import ConfigError
from .files import read_bytes, shorten

MAX_YAML_BYTES = 256 << 10
"""Of a file with settings: the longest has a few hundred lines."""

MAX_DEPTH, MAX_VALUES = 32, 20_000
"""Of what YAML means. A few lines with anchors can mean more values than fit in memory."""

_NO_TEXT = re.compile("[\0\ud800-\udfff]")
"""What no path and no name contains: NUL, and halves of characters."""

_NO_YAML = (yaml.YAMLError, ValueError, ArithmeticError, LookupError, AttributeError, TypeError)
"""What PyYAML raises for text that is not YAML: its own error for syntax, Python's for values like 2020-99-99."""

T = TypeVar("T")

Layer = tuple[str, Mapping[str, Any]]
"""Where it comes from, and what it says."""

COMMAND_LINE = "command line"
"""The layer of the flags."""

RENAMED: Mapping[str, str] = {"clock": "time_sync"}
"""Keys that had another name, by path: whoever still uses the old one is told the new one."""


@dataclass(frozen=True)
class Key:
    """One setting, or a section of settings."""

    path: tuple[str, ...]
    type: Any
    """Its annotation; the class of a section."""
    help: str
    default: Any

    @property
    def is_section(self) -> bool:
        return is_dataclass(self.type)

    def __str__(self) -> str:
        return ".".join(self.path)


def keys(cls: Any, above: tuple[str, ...] = ()) -> Iterator[Key]:
    """Every key below a settings class, in order; a section comes before its keys."""
    hints = get_type_hints(cls, include_extras=True)
    for field in fields(cls):
        hint, path = hints[field.name], (*above, field.name)
        default = field.default if field.default_factory is MISSING else field.default_factory()
        if is_dataclass(hint):
            yield Key(path, hint, inspect.getdoc(hint) or "", default)
            yield from keys(hint, path)
        else:
            yield Key(path, hint, field_docs(cls).get(field.name, ""), default)


@cache
def field_docs(cls: type) -> dict[str, str]:
    """The strings that stand under a class's own fields: their help."""
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(node, ast.ClassDef)
    docs = {}
    for field, text in zip(node.body, node.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            docs[field.target.id] = " ".join(str(ast.literal_eval(text.value)).split())
    return docs


def renamed(path: str) -> str | None:
    """The path of a key today, where this was its path once; None for every other."""
    for old, new in RENAMED.items():
        if path == old or path.startswith(f"{old}."):
            return new + path.removeprefix(old)
    return None


def origin(path: Sequence[str], layers: Sequence[Layer]) -> str:
    """Which layer a setting's value comes from; `default` where none of them has the key."""
    found = "default"
    for where, layer in layers:
        value: Any = layer
        for key in path:
            if not isinstance(value, Mapping):
                break
            if key not in value:
                value = MISSING
                break
            value = value[key]
        if value is not MISSING:
            found = where
    return found


class _OneKeyOnce(yaml.SafeLoader):
    """YAML without tags, in which a key may be given once and nothing is nested deep."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise yaml.constructor.ConstructorError(None, None, "it is nested too deep", self.peek_event().start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = sorted(key for key, times in Counter(keys).items() if times > 1)
        if twice:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key '{shorten(twice[0])}' is given twice", node.start_mark
            )
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Layer:
    """One layer from a file: a mapping, no tags."""
    content = read_bytes(path, "a YAML file with settings", MAX_YAML_BYTES, ConfigError)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: expected YAML in UTF-8, but found other bytes ({error.reason} at byte {error.start}). "
            "Save it as UTF-8."
        ) from error
    value = parse_yaml(str(path), text)
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: expected settings as `key: value` lines, but found a {type(value).__name__}.")
    return str(path), value


def parse_yaml(where: str, text: str) -> Any:
    """YAML without tags; `where` names it in the error."""
    try:
        value = yaml.load(text, Loader=_OneKeyOnce)
    except _NO_YAML as error:
        reason = shorten(" ".join(str(error).split()), 300)
        raise ConfigError(f"{where}: expected YAML, but it cannot be read: {reason}. Correct that line.") from error
    _check_extent(where, value)
    return value


def _check_extent(where: str, value: Any) -> None:
    """Raise an error for values that are nested too deep, too many, or that cannot be printed or written as JSON."""
    level, count, depth = [value], 0, 0
    while level:
        count, depth = count + len(level), depth + 1
        if depth > MAX_DEPTH or count > MAX_VALUES:
            found = f"levels below level {MAX_DEPTH}" if depth > MAX_DEPTH else f"more than {MAX_VALUES} values"
            raise ConfigError(
                f"{where}: expected settings nested a few levels deep, but found {found}. "
                "Remove what is not a setting, and leave anchors out."
            )
        if any(isinstance(each, int) and each.bit_length() > 256 for each in level):
            raise ConfigError(f"{where}: expected numbers of a few digits, but found a longer one. Correct that line.")
        if any(isinstance(each, str) and _NO_TEXT.search(each) for each in level):
            raise ConfigError(f"{where}: expected text, but found a NUL or half a character. Correct that line.")
        level = [
            inner
            for each in level
            if isinstance(each, dict | list | tuple | set)
            for inner in ([*each, *each.values()] if isinstance(each, dict) else each)
        ]


def build(cls: type[T], layers: Sequence[Layer]) -> T:
    """The settings that the layers add up to; later ones win, key by key.

    Raises:
        ConfigError: a layer has an unknown key, a wrong type or a value out of range; it names layer and key.
    """
    adapter = TypeAdapter(cls)
    merged: dict[str, Any] = {}
    result = adapter.validate_json("{}")
    for where, layer in layers:
        merged = _merge(merged, layer)
        try:
            # As JSON, because only there strict types and nested mappings go together.
            result = adapter.validate_json(json.dumps(merged, default=str, allow_nan=False))
        except (TypeError, ValueError, RecursionError) as error:
            if not isinstance(error, ValidationError):
                raise ConfigError(
                    f"{where}: expected names, finite numbers, lists and mappings, but found something else ({error}). "
                    "Write keys as plain words and leave anchors out."
                ) from error
            raise ConfigError(explain(cls, where, error)) from error
    return result


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def explain(cls: type, where: str, error: ValidationError) -> str:
    """The first of pydantic's complaints as one sentence: where, expected, got, what to do."""
    first = error.errors()[0]
    loc = [str(part) for part in first["loc"]]
    key = ".".join(loc)
    if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        if new := renamed(key):
            return f"{where}: '{key}' is now '{new}'. Rename the key."
        known = sorted(field.name for field in fields(_class_at(cls, loc[:-1])))  # type: ignore[arg-type]
        return f"{where}: unknown key '{shorten(key)}'. Known keys: {', '.join(known)}."
    return (
        f"{where}: '{key}': {first['msg'][0].lower()}{first['msg'][1:]}, but got {shorten(repr(first['input']))}. "
        "Correct the value; docs/configuration.md lists every key."
    )


def _class_at(cls: Any, path: Sequence[str]) -> Any:
    """The settings class that a path of keys leads to."""
    for key in path:
        cls = get_type_hints(cls)[key] if is_dataclass(cls) else get_args(cls)[1]
        if get_origin(cls) in (Union, UnionType):
            cls = next(arg for arg in get_args(cls) if is_dataclass(arg))
    return cls
