"""Settings: strict, layered, and the same on the command line."""

from __future__ import annotations

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
        ("board: &b {columns: *b}", "expected names, finite numbers"),
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
    with pytest.raises(ConfigError, match=r"expected a YAML file with settings, but it cannot be read \(No such file"):
        read_yaml(tmp_path / "none.yaml")


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
    assert "elsewhere" in said or "the name of a session in pipeline.yaml (capture-session, mine)" in said
    assert main([*command, "--config", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml: expected a YAML file" in capsys.readouterr().err
