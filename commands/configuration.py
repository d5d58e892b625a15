"""`handpipe config`: the settings in effect, and where each comes from."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import TypeAdapter
from tyro.conf import Positional, arg

from ..core.config import COMMAND_LINE, Layer, origin
from ..core.errors import SessionError
from ..screen import Screen
from ..settings import DEFAULT_CONFIG, Config, session_folder
from . import Configured


@dataclass(frozen=True)
class ShowConfig(Configured):
    """Print the settings in effect as YAML, and where each value comes from.

    A value comes from the code (`default`), handpipe's pipeline.yaml, the file given by --config, the session's
    session.yaml, or a flag. The output can be used as a file for --config.
    """

    sections = tuple(Config.__dataclass_fields__)
    short = ("engine",)

    session: Annotated[Positional[str | None], arg(metavar="SESSION")] = None
    """A session folder, or the name of a session in pipeline.yaml. Default: the settings without a session."""

    def config_sources(self) -> tuple[Path | None, str | None]:
        return self.config, self.session

    def execute_layers(self, config: Config, layers: Sequence[Layer], screen: Screen) -> dict[str, Any]:
        if self.session is not None and self.session not in config.sessions:
            folder = session_folder(config, self.session)
            if not folder.is_dir():
                known = ", ".join(sorted(config.sessions)) or "none"
                raise SessionError(
                    f"{self.session}: expected a session folder, or the name of a session in pipeline.yaml ({known}), "
                    "but found neither. Check the spelling."
                )
        settings = TypeAdapter(Config).dump_python(config, mode="json")
        named = [("pipeline.yaml" if where == str(DEFAULT_CONFIG) else where, layer) for where, layer in layers]
        origins = {path: _origin(path, named) for path in _leaves(settings)}
        if not self.json:
            print("\n".join(_lines(settings, origins)))
        return {"settings": settings, "origins": {".".join(path): where for path, where in origins.items()}}


def _origin(path: tuple[str, ...], layers: Sequence[Layer]) -> str:
    found = origin(path, layers)
    return f"--{'.'.join(path).replace('_', '-')}" if found == COMMAND_LINE else found


def _leaves(settings: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*above, key))
        else:
            yield (*above, key)


def _lines(
    settings: Mapping[str, Any], origins: Mapping[tuple[str, ...], str], above: tuple[str, ...] = ()
) -> Iterator[str]:
    for key, value in settings.items():
        path = (*above, key)
        start = "  " * len(above) + _scalar(key) + ":"
        if path in origins:
            yield f"{start} {_scalar(value)}  # {origins[path]}"
        else:
            yield start
            yield from _lines(value, origins, path)


def _scalar(value: Any) -> str:
    """A value on one line of YAML."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=float("inf"))
    return text.removesuffix("...\n").strip()
