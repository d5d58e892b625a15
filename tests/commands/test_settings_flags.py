"""Every setting is reached by a key in YAML and by a flag of the same path, in every command with settings."""

from __future__ import annotations

from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
import yaml
from every_command import every_command, required, settings_flags

from handpipe.cli import main, parse
from handpipe.core.config import RENAMED, Key, build, keys, read_yaml
from handpipe.core.errors import ConfigError
from handpipe.settings import Config, load_config

BASE, LAYERS = load_config(None, None)
CONFIGURED = [(name, cls) for name, cls in every_command() if settings_flags(cls) is not None]
SHORT = [each for each in CONFIGURED if each[1].short]
SHADOWED = {"fps", "hand_model"}
"""Flags of this name may mean something else: the frame rate of an imported file, or of a training."""


def value_at(config: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        config = getattr(config, name)
    return config


def candidates(hint: Any, default: Any) -> list[Any]:
    if get_origin(hint) is Annotated:
        return candidates(get_args(hint)[0], default)
    if get_origin(hint) in (Union, UnionType):
        return [each for part in get_args(hint) if part is not type(None) for each in candidates(part, default)]
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    if hint is bool:
        return [True, False]
    if hint is int:
        return [(default or 0) + 1, (default or 0) + 2, 11, 3]
    if hint is float:
        return [(default or 0.0) / 2 + 0.001, 1.5, 0.25]
    return ["a-word"] if hint is str else [["one", "two"]]


def another(key: Key, so_far: dict[str, Any]) -> Any:
    """A value of a setting that is valid and not its default."""
    special = {
        "board.rows": 7,
        # Lengths that a printed board can have, the marker smaller than the square.
        "board.square_m": 0.05,
        "board.marker_m": 0.035,
        "sessions": {"mine": {"path": "there", "synthesize": {"views": 3}}},
        "calibration.known_distances": [{"first": "a", "second": "b", "distance_m": 1.5}],
    }
    for value in [special[str(key)]] if str(key) in special else candidates(key.type, key.default):
        try:
            config = build(Config, [("all", so_far), ("one", nested(key.path, value))])
        except ConfigError:
            continue
        if value_at(config, key.path) != value_at(Config(), key.path):
            return value
    raise AssertionError(f"no other value for {key}")


def nested(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    return {path[0]: nested(path[1:], value) if len(path) > 1 else value}


def merge(into: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for name in path[:-1]:
        into = into.setdefault(name, {})
    into[path[-1]] = value


def words(key: Key, flag: str, value: Any) -> list[str]:
    """A value as it is written on the command line."""
    if isinstance(value, bool) and bool in (key.type, *get_args(key.type)) and type(None) not in get_args(key.type):
        *above, last = flag.split(".")
        return [f"--{'.'.join((*above, last if value else f'no-{last}'))}"]
    if isinstance(value, dict) or (isinstance(value, list) and isinstance(value[0], dict)):
        return [f"--{flag}", yaml.safe_dump(value, default_flow_style=True).strip()]
    return [f"--{flag}", *(map(str, value) if isinstance(value, list) else [str(value)])]


@pytest.fixture(scope="module")
def others() -> dict[str, Any]:
    """Another value for every setting, as YAML has it."""
    result: dict[str, Any] = {}
    # A chessboard is not valid with every number of squares: its type comes after them.
    for key in sorted(keys(Config), key=lambda key: str(key) == "board.type"):
        if not key.is_section:
            merge(result, key.path, another(key, result))
    return result


def of(path: tuple[str, ...], settings: dict[str, Any]) -> Any:
    for name in path:
        settings = settings[name]
    return settings


@pytest.mark.parametrize(("name", "cls"), CONFIGURED, ids=[name for name, _ in CONFIGURED])
def test_the_path_in_yaml_is_the_path_of_the_flag(name, cls, others, tmp_path):
    flags, line, expected = settings_flags(cls), required(cls), {}
    assert flags is not None
    every = [key for key in keys(Config) if not key.is_section]
    reached = list(flags.reached())
    for key in reached:
        flag = flags.names(key)[-1]
        assert flag == str(key).replace("_", "-")
        line += words(key, flag, of(key.path, others))
        merge(expected, key.path, of(key.path, others))
    assert {str(key) for key in every} - {str(key) for key in reached} <= SHADOWED
    _, layer = parse(f"handpipe {name}", cls, line, BASE)
    (tmp_path / "all.yaml").write_text(yaml.safe_dump(expected))
    assert build(Config, [*LAYERS, layer]) == build(Config, [*LAYERS, read_yaml(tmp_path / "all.yaml")])


@pytest.mark.parametrize(("name", "cls"), SHORT, ids=[name for name, _ in SHORT])
def test_short_flags_set_the_same(name, cls, others):
    flags = settings_flags(cls)
    assert flags is not None
    line, expected = required(cls), {}
    for key in flags.reached():
        if len(flags.names(key)) > 1:
            line += words(key, flags.names(key)[0], of(key.path, others))
            merge(expected, key.path, of(key.path, others))
    assert expected
    _, layer = parse(f"handpipe {name}", cls, line, BASE)
    assert build(Config, [layer]) == build(Config, [("yaml", expected)])


def test_what_is_not_given_is_not_in_the_layer():
    for name, cls in CONFIGURED:
        assert parse(f"handpipe {name}", cls, required(cls), BASE)[1][1] == {}


def test_help_shows_only_settings_that_there_are():
    paths = {str(key) for key in keys(Config)}
    for name, cls in every_command():
        assert {*cls.common, *cls.sections, *cls.short} <= paths, name
        assert all(any(f"{each}.".startswith(f"{part}.") for part in cls.sections) for each in cls.common), name


def test_every_setting_has_a_help_text():
    for key in keys(Config):
        assert key.help.endswith("."), key


@pytest.mark.parametrize("old", RENAMED)
def test_a_renamed_flag_tells_the_new_one(old, capsys):
    assert main(["run", "x", f"--{old}.instants", "20"]) == 2
    new = RENAMED[old].replace("_", "-")
    assert capsys.readouterr().err == (f"handpipe: '--{old}.instants' is now '--{new}.instants'. Use the new flag.\n")
    assert RENAMED[old] in {str(key) for key in keys(Config)}


@pytest.mark.parametrize(
    "flags", [["--workers", "-2"], ["--board.columns", "1"], ["--fitting.robust-scale", "0"], ["--sessions", "{x: 3}"]]
)
def test_a_flag_out_of_range_is_a_sentence(flags, capsys):
    assert main(["run", "x", *flags]) == 2
    assert "handpipe: command line: '" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["[", "{a: 1, a: 2}", "!!python/name:os.system x"])
def test_a_flag_that_is_not_yaml(text, capsys):
    assert main(["run", "x", "--sessions", text]) == 2
    assert "handpipe: --sessions: expected YAML, but it cannot be read" in capsys.readouterr().err


def test_flags_of_another_type(capsys):
    for flags in (["--fps", "many"], ["--calibration.lens", "plastic"]):
        with pytest.raises(SystemExit) as ended:
            main(["run", "x", *flags])
        assert ended.value.code == 2
    assert "plastic" in capsys.readouterr().err


def test_lengths_have_a_unit_as_in_yaml():
    cls = dict(CONFIGURED)["calibrate"]
    line = [*required(cls), "--board.square-m"]
    layers = [parse("handpipe calibrate", cls, [*line, text], BASE)[1] for text in ("5 cm", "0.05")]
    assert layers[0] == layers[1] == ("command line", {"board": {"square_m": 0.05}})


@pytest.mark.parametrize("flag", ["--board.square-m", "--unit-m"])
def test_a_length_in_no_unit(flag, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["calibrate", "x", flag, "4 ft"])
    assert ended.value.code == 2
    assert "a length with a unit such as 50 mm, 4 cm or 1.5 in, but found '4 ft'" in " ".join(
        capsys.readouterr().err.replace("│", " ").split()
    )
