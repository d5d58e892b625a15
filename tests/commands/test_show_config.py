"""`handpipe config`: what holds, and where it comes from."""

from __future__ import annotations

import json

import pytest
import yaml

from handpipe.cli import main
from handpipe.core.config import build, keys
from handpipe.settings import Config, load_config


def shown(capsys, *words: str) -> dict:
    assert main(["config", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def layered(tmp_path):
    """A session, and a file for `--config`."""
    session, file = tmp_path / "session", tmp_path / "mine.yaml"
    session.mkdir()
    (session / "session.yaml").write_text("fps: 25\nboard: {columns: 9}\n")
    file.write_text("fps: 24\nboard: {rows: 8}\ntraining: {loss: {bone: 0.5}}\n")
    return session, file


def test_each_value_and_its_origin(layered, capsys):
    session, file = layered
    found = shown(capsys, str(session), "--config", str(file), "--fitting.robust-scale", "3", "--workers", "0")
    own = str(session / "session.yaml")
    for path, value, origin in (
        ("fps", 25.0, own),
        ("board.columns", 9, own),
        ("board.rows", 8, str(file)),
        ("training.loss.bone", 0.5, str(file)),
        ("training.loss.x0", 1.0, "default"),
        ("fitting.robust_scale", 3.0, "--fitting.robust-scale"),
        ("engine.workers", 0, "--engine.workers"),
        ("sessions.capture-session.synthesize.views", 50, "pipeline.yaml"),
        ("sessions.capture-session.synthesize.seed", 0, "default"),
    ):
        settings = found["settings"]
        for key in path.split("."):
            settings = settings[key]
        assert (settings, found["origins"][path]) == (value, origin), path
    assert {str(key) for key in keys(Config) if not key.is_section} - {"sessions"} <= set(found["origins"])


def test_a_flag_that_repeats_the_default_is_its_origin(capsys):
    assert shown(capsys, "--board.columns", "7")["origins"]["board.columns"] == "--board.columns"


def test_the_text_is_yaml_that_gives_the_same_settings(layered, capsys, tmp_path):
    session, file = layered
    words = ["--config", str(file), "--training.held-out", "a: b", "# c", "--engine.dashboard", "[::1]:0"]
    words += ["--training.learning-rate", "1e-05", "--sessions", "{'a b': {path: 'x # y'}}"]
    assert main(["config", str(session), *words]) == 0
    text = capsys.readouterr().out
    assert "columns: 9  # " + str(session / "session.yaml") in text
    again = build(Config, [("again", yaml.safe_load(text))])
    assert again.training.held_out == ("a: b", "# c")
    assert again.training.learning_rate == 1e-05
    assert again.sessions["a b"].path == "x # y"
    (tmp_path / "again.yaml").write_text(text)
    assert load_config(tmp_path / "again.yaml", None)[0] == again


def test_without_a_session(capsys):
    assert main(["config"]) == 0
    assert build(Config, [("text", yaml.safe_load(capsys.readouterr().out))]) == load_config(None, None)[0]


def test_no_such_session(capsys, tmp_path):
    assert main(["config", str(tmp_path / "none")]) == 2
    assert "expected a session folder, or the name of a session in pipeline.yaml (capture-session, small-session)" in (
        capsys.readouterr().err
    )
