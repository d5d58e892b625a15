"""Many sessions: one list of jobs, a state for each, and how far they are."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from paths import ONE_PROCESS
from rich.console import Console

from handpipe.cli import main
from handpipe.commands.many_sessions import Jobs
from handpipe.commands.sessions import Run
from handpipe.core.cluster.cluster import Cluster
from handpipe.core.errors import SessionError
from handpipe.core.settings import EngineSettings
from handpipe.core.storage.store import Store
from handpipe.screen import Screen
from handpipe.settings import Config

HERE = EngineSettings(workers=0)


@pytest.fixture
def sessions(computed, tmp_path):
    """One that is done, one without clips, one that is done but for the fit, and a file that is none."""
    root = tmp_path / "sessions"
    for name in ("a", "c"):
        shutil.copytree(computed, root / name)
        clips = [path for kind in ("videos", "calibration") for path in (computed / kind).iterdir()]
        for path in clips:  # With its time: nothing is hashed again.
            shutil.copy2(path, root / name / path.parent.name / path.name)
    (root / "b").mkdir()
    Store(str(root / "c" / "session.zarr")).remove("mano")
    (root / "notes.txt").write_text("of the day")
    return root


def run(capsys, *argv) -> tuple[int, list[dict], str]:
    status = main([str(word) for word in (*argv, "--json")])
    out, err = capsys.readouterr()
    return status, json.loads(out)["sessions"], err


def test_a_session_that_fails_stops_no_other_and_the_next_run_does_the_rest(sessions, capsys, monkeypatch):
    every = sorted(sessions.iterdir())
    monkeypatch.chdir(sessions)
    status, states, err = run(capsys, "run", *every, "a", *ONE_PROCESS)
    assert status == 2
    assert [(Path(each["session"]).name, each["state"]) for each in states] == [
        ("a", "up to date"),
        ("b", "failed"),
        ("c", "done"),
        ("notes.txt", "failed"),
    ]
    assert states[2]["computed"] == ["mano"]
    assert "expected a session folder with one clip per camera" in states[1]["error"]
    assert "4 sessions: 1 up to date, 2 failed, 1 done" in err
    status, states, _ = run(capsys, "run", sessions / "a", sessions / "c", *ONE_PROCESS)
    assert (status, [each["state"] for each in states]) == (0, ["up to date", "up to date"])


def test_each_session_has_its_own_settings_below_the_flags(sessions, capsys):
    for name, settings in (("a", "fps: 9.0"), ("c", "fitting: {reprojection: nonsense}")):
        (sessions / name / "session.yaml").write_text(settings)
    names = [sessions / "a", sessions / "c"]
    status, (a, c), _ = run(capsys, "run", *names, *ONE_PROCESS, "--until", "detect")
    assert status == 2
    assert (a["state"], a["fps"]) == ("done", 9.0)
    assert (c["state"], "session.yaml: 'fitting.reprojection'" in c["error"]) == ("failed", True)
    _, (a, _), _ = run(capsys, "run", *names, *ONE_PROCESS, "--until", "detect", "--fps", "5.0")
    assert a["fps"] == 5.0


def test_one_store_is_not_for_many(sessions, capsys):
    assert main(["run", str(sessions / "a"), str(sessions / "c"), "--store", "x"]) == 2
    assert "expected one session, but 2 are named" in capsys.readouterr().err
    assert main(["run"]) == 2
    assert "expected a session to run, but none is named" in capsys.readouterr().err


def jobs(compute, screen=None, names=("a", "b", "c")) -> Jobs:
    return Jobs(names, lambda name: Config(), compute, screen or Screen(Console(quiet=True)))


def test_a_fault_of_the_code_is_raised_when_the_others_are_done():
    def compute(name, *_):
        if name == "b":
            raise KeyError("a fault")
        return {"computed": []}

    many = jobs(compute)
    with pytest.raises(KeyError, match="a fault"):
        many.run(HERE)
    assert [state.word for state in many.states] == ["up to date", "failed", "up to date"]


def test_ctrl_c_leaves_the_rest():
    def compute(name, *_):
        if name == "b":
            raise KeyboardInterrupt
        return {"computed": ["mano"]}

    many = jobs(compute)
    with pytest.raises(KeyboardInterrupt):
        many.run(HERE)
    assert [state.word for state in many.states] == ["done", "not run", "not run"]


def test_nothing_is_tried_on_a_cluster_that_is_lost(monkeypatch):
    def compute(name, *_):
        monkeypatch.setattr(Cluster, "lost", True)
        raise SessionError("lost")

    many = jobs(compute)
    figures = many.run(HERE)
    assert [each["state"] for each in figures["sessions"]] == ["failed", "not run", "not run"]


def test_all_share_one_cluster():
    seen = set()

    def compute(name, config, progress, cluster):
        seen.add(id(cluster))
        return {"computed": []}

    jobs(compute).run(HERE)
    assert len(seen) == 1


def test_a_terminal_shows_the_states_above_the_bar():
    console = Console(force_terminal=True, width=100, height=30, record=True, file=StringIO())
    names = tuple(f"session-{n:02}" for n in range(40))

    def compute(name, config, progress, cluster):
        progress.start("detections", 10, 0, "images")
        progress.advance(5)
        progress.stop()
        progress.say("warning: dark")
        return {"computed": ["detections"], "quality": {"verdict": "good"}}

    many = jobs(compute, Screen(console), names[:3])
    many.run(HERE)
    text = console.export_text()
    assert "3 sessions: 1 done, 1 running, 1 waiting" in text
    assert "warning: session-01: dark" in text
    many = jobs(compute, Screen(console), names)
    many.states[30].word = "running"
    table = Console(width=100, record=True, file=StringIO())
    table.print(many.table(12))
    shown = table.export_text()
    assert "40 sessions: 39 waiting, 1 running" in shown
    assert shown.count("session-") == 12
    assert "session-30" in shown


def test_status_says_how_far_each_is_and_computes_nothing(sessions, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    c = Store(str(sessions / "c" / "session.zarr"))
    grid = c.done("detections")
    grid[:3] = False
    c.write_marks("detections", grid)
    c.set_attrs("detections", complete=False)
    before = {path: path.stat().st_mtime_ns for path in sessions.rglob("*")}
    status, (a, b, c, none), err = run(capsys, "status", *(sessions / name for name in ("a", "b", "c", "none")))
    assert status == 2
    assert (a["state"], a["verdict"], a["changed"]) == ("done", "good", [])
    assert {stage["state"] for stage in a["stages"].values()} == {"done"}
    assert (b["state"], b["verdict"]) == ("not begun", None)
    assert c["state"] == "partly done"
    assert c["stages"]["detect"] == {
        **{"state": "partly done", "group": "detections"},
        **{"done": int(grid.sum()), "planned": grid.size},
    }
    assert c["stages"]["fit"] == {"state": "partly done"}
    assert "expected a session folder, but there is none" in none["error"]
    assert f"detections: {grid.sum()} of {grid.size}" in " ".join(err.split())
    assert {path: path.stat().st_mtime_ns for path in sessions.rglob("*")} == before


def test_status_sees_what_is_older_than_its_input_and_changed_clips(sessions, capsys):
    store = Store(str(sessions / "a" / "session.zarr"))
    store.set_attrs("tracks", fingerprint={"settings": {}, "inputs": {}, "code": 1000})
    clip = next((sessions / "a" / "videos").iterdir())
    clip.touch()
    _, (a,), err = run(capsys, "status", sessions / "a")
    assert a["stages"]["triangulate"] == {"state": "out of date", "group": "looks"}
    assert a["changed"] == [f"videos/{clip.name}"]
    assert "1 files are not those that results were computed of" in err


def test_status_loads_no_machinery(tmp_path):
    code = (
        "import sys; from handpipe.cli import main; main(['status', sys.argv[1]]);"
        "print([m for m in ('torch', 'cv2', 'mediapipe', 'distributed', 'scipy') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code, tmp_path], check=True, capture_output=True, text=True)
    assert out.stdout.splitlines()[-1] == "[]"


def test_one_session_is_as_ever(sessions, capsys):
    assert Run(sessions=("x",)).config_sources() == (None, "x")
    assert main(["run", str(sessions / "a"), *ONE_PROCESS, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["computed"] == []
    assert f"{sessions / 'a'}: up to date" in " ".join(err.split())
    assert "next: `handpipe report" in err
