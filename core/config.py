"""Settings from YAML and the command line, in layers, strictly.

Settings are frozen pydantic dataclasses: the defaults live in code, `pipeline.yaml` and `session.yaml` override them,
flags override those. Unknown keys and wrong types are errors that name the file and the key.
"""

# Ring 2: reads and writes.

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from .errors import ConfigError

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
    """YAML without tags, in which a key may be given once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"the key '{twice[0]}' is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Layer:
    """One layer from a file: a mapping, no tags."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path}: expected a YAML file with settings, but it cannot be read ({error.strerror}). Check the path."
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: expected YAML in UTF-8, but found other bytes ({error}). Save it as UTF-8."
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
        return yaml.load(text, Loader=_OneKeyOnce)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{where}: expected YAML, but it cannot be read: {reason}. Correct that line.") from error


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
        return f"{where}: unknown key '{key}'. Known keys: {', '.join(known)}."
    return (
        f"{where}: '{key}': {first['msg'][0].lower()}{first['msg'][1:]}, but got {first['input']!r}. "
        "Correct the value; docs/configuration.md lists every key."
    )


def _class_at(cls: Any, path: Sequence[str]) -> Any:
    """The settings class that a path of keys leads to."""
    for key in path:
        cls = get_type_hints(cls)[key] if is_dataclass(cls) else get_args(cls)[1]
        if get_origin(cls) in (Union, UnionType):
            cls = next(arg for arg in get_args(cls) if is_dataclass(arg))
    return cls
