"""Settings: strict, layered, and the same on the command line."""

from __future__ import annotations

import os
from itertools import pairwise

import pytest

from handpipe.cli import main
from handpipe.core.config import build, read_yaml
from handpipe.core.errors import ConfigError
from handpipe.settings import Config, load_config, session_folder


def layer(tmp_path, text, name="session.yaml"):
    (tmp_path / name).write_text(text)
    return read_yaml(tmp_path / name)


def test_later_layers_win_key_by_key(tmp_path):
    a = layer(tmp_path, "board: {columns: 4, rows: 6}\nfps: 25\n", "a.yaml")
    b = layer(tmp_path, "board: {rows: 5}\n", "b.yaml")
    config = build(Config, [a, b])
    assert (config.board.columns, config.board.rows, config.fps) == (4, 5, 25.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fitting: {smothness: 1}", r"unknown key 'fitting\.smothness'\. Known keys: .*finger_acceleration_sd"),
        ("stages: [fit]", r"unknown key 'stages'\. Known keys: augmentation, board, .* triangulation\."),
        ("board: {columns: many}", r"'board\.columns': .*valid integer.* but got 'many'"),
        ("board: {columns: '4'}", r"'board\.columns': .*valid integer"),
        ("engine: {workers: true}", r"'engine\.workers': .*valid integer"),
        ("engine: {workers: -1}", r"'engine\.workers': .*greater than or equal to 0, but got -1"),
        ("sessions: {x: {synthesise: {}}}", r"unknown key 'sessions\.x\.synthesise'\. Known keys: path, synthesize\."),
        ("board: {marker_m: 0.09}", "marker_m .* must be smaller than square_m"),
        ("fps: [30]", "'fps': .*valid number"),
        ("clock: {estimate: false}", r"'clock' is now 'time_sync'\. Rename the key\."),
        ("fps: .inf", "expected names, finite numbers"),
        ("2020-01-01: 3", "expected names, finite numbers"),
    ],
)
def test_wrong_settings_name_the_file_and_the_key(tmp_path, text, message):
    where, values = layer(tmp_path, text)
    with pytest.raises(ConfigError, match=message) as caught:
        build(Config, [(where, values)])
    assert str(caught.value).startswith(str(tmp_path / "session.yaml"))


def test_yaml_that_is_none(tmp_path):
    with pytest.raises(ConfigError, match=r"expected YAML, but it cannot be read: .*line 2"):
        layer(tmp_path, "a: [1,\n")
    with pytest.raises(ConfigError, match="expected settings as `key: value` lines, but found a list"):
        layer(tmp_path, "- a\n- b\n")
    with pytest.raises(ConfigError, match="expected a YAML file with settings, but there is no such file"):
        read_yaml(tmp_path / "none.yaml")


ALIASES = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 9)}]\n" for before, after in pairwise("abcdefghijkl")
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fps: " + "9" * 5000, "expected YAML, but it cannot be read: .*digits"),
        ("fps: 0x" + "f" * 5000, "expected numbers of a few digits"),
        ("fps: " + ":".join(["59"] * 3000), "expected numbers of a few digits"),
        ("fps: " + ":".join(["59"] * 3000) + ".5", "too large"),
        ("a: " + "[" * 2000, "it is nested too deep"),
        ("a: " + "[" * 50 + "]" * 50, "it is nested too deep .*line 1"),
        ("board: &b {columns: *b}", "leave anchors out"),
        (ALIASES, "more than 20000 values"),
        ("fps: 2020-99-99", "expected YAML, but it cannot be read: month must be in 1..12"),
        ("fps: !!timestamp x", "expected YAML, but it cannot be read"),
        ("fps: !!bool x", "expected YAML, but it cannot be read"),
        ("fps: !!int ''", "expected YAML, but it cannot be read"),
        ("fps: 30\0", "expected YAML, but it cannot be read: unacceptable character"),
        ('hand_model: "a\\0b"', "found a NUL"),
        ('"\\ud800": 3', "half a character"),
        ("#" * (300 << 10), "at most 0.25 MiB"),
    ],
    ids=lambda text: text[:20],
)
def test_a_hostile_file_is_one_sentence(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        layer(tmp_path, text)
    assert str(caught.value).startswith(str(tmp_path / "session.yaml"))
    assert len(str(caught.value)) < len(str(tmp_path)) + 500


def test_a_wrong_value_is_shortened(tmp_path):
    with pytest.raises(ConfigError, match=r"but got 'aaa.*\.\.\. \(100002 characters\)\.") as caught:
        build(Config, [layer(tmp_path, "fps: " + "a" * 100_000)])
    assert len(str(caught.value)) < len(str(tmp_path)) + 500


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "session.yaml")
    with pytest.raises(ConfigError, match="expected a YAML file with settings, but found no plain file"):
        read_yaml(tmp_path / "session.yaml")


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    assert layer(tmp_path, "\ufefffps: 30")[1] == {"fps": 30}


def test_a_key_may_be_given_once(tmp_path):
    with pytest.raises(ConfigError, match="the key 'fps' is given twice"):
        layer(tmp_path, "fps: 5\nboard: {}\nfps: 7\n")


def test_yaml_tags_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="could not determine a constructor"):
        layer(tmp_path, "a: !!python/object/apply:os.system ['true']\n")


def test_an_empty_file_changes_nothing(tmp_path):
    assert build(Config, [layer(tmp_path, "# nothing\n")]) == build(Config, [])


def test_the_default_session_is_known():
    config, _ = load_config(None, None)
    made = config.sessions["capture-session"].synthesize
    assert made is not None
    assert (made.views, made.frames, made.fps, made.width, made.height) == (50, 60, 30.0, 640, 512)
    assert str(session_folder(config, "capture-session")) == "capture-session"
    assert str(session_folder(config, "a/b")) == "a/b"


@pytest.mark.parametrize(
    "command",
    [
        ["train-evaluator", "mine", "--out", "evaluator"],
        ["evaluate", "mine", "mine"],
        ["train-diffusion", "mine"],
        ["train-detector", "mine"],
        ["export", "mano", "mine", "--out", "motion.npz"],
        ["export", "cameras", "mine", "cameras.toml"],
        ["import", "keypoints2d", "mine", "."],
        ["fit", "mine"],
    ],
    ids=" ".join,
)
def test_sessions_are_known_by_the_names_of_the_file_that_config_names(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "mine.yaml"
    file.write_text(f"sessions: {{mine: {{path: {tmp_path / 'elsewhere'}}}}}\n")
    assert main([*command, "--config", str(file)]) == 2
    said = capsys.readouterr().err
    known = "the name of a session in pipeline.yaml (capture-session, mine, small-session)"
    assert "elsewhere" in said or known in said
    assert main([*command, "--config", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml: expected a YAML file" in capsys.readouterr().err
