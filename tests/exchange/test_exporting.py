"""`handpipe export`: what is in the way, what an interruption leaves, names that come from data."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from old_stores import as_before_checksums
from paths import SUPPORT
from stored_motions import clip, fitted, generated
from toy_stage import Quiet

from handpipe.cli import main
from handpipe.commands.exports import EXPORT, ExportCameras
from handpipe.core.errors import ExportError, StoreError
from handpipe.core.storage.store import Store
from handpipe.exchange.export_format import FileFormat, export_formats
from handpipe.exchange.exporting import REPORT, export
from handpipe.exchange.recording import recordings, safe_name


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    return fitted(tmp_path_factory.mktemp("sessions") / "hands", clip())


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return generated(tmp_path_factory.mktemp("generated") / "three.zarr", [clip(seed=seed) for seed in range(3)])


def run(capsys, *argv) -> tuple[int, dict, str]:
    """Exit status, the JSON of standard output (empty without), standard error as one line."""
    status = main([str(arg) for arg in argv])
    out, err = capsys.readouterr()
    return status, json.loads(out) if out else {}, " ".join(err.split())


def wrong(capsys, *argv) -> str:
    """The one sentence of a command that must end with status 2 and without a traceback."""
    status, figures, err = run(capsys, *argv)
    assert status == 2
    assert not figures
    assert "Traceback" not in err
    return err.partition("handpipe: ")[2]


FORMATS = export_formats()


def writing(write) -> FileFormat:
    """A format of the test's own."""
    return FileFormat(name="x", title="", suffixes=(".x",), write=write)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---- what is written where -------------------------------------------------------------------------------------


def test_every_format_has_a_command_and_every_command_a_format():
    motion = {name: command for name, command in EXPORT.commands.items() if command is not ExportCameras}
    assert {name: vars(command)["into"].name for name, command in motion.items()} == {name: name for name in FORMATS}


def test_one_file_for_each_sequence_and_a_report(session, samples, tmp_path, capsys):
    status, figures, said = run(capsys, "export", "keypoints3d", session, samples, "--out", tmp_path / "out", "--json")
    assert status == 0
    assert [each["name"] for each in figures["sequences"]] == ["hands", "three-0000", "three-0001", "three-0002"]
    assert [each["sample"] for each in figures["sequences"]] == [None, 0, 1, 2]
    assert sorted(tree(tmp_path / "out")) == [
        REPORT,
        "hands.npz",
        "three-0000.npz",
        "three-0001.npz",
        "three-0002.npz",
    ]
    report = json.loads((tmp_path / "out" / REPORT).read_text())
    assert report["lost"] == figures["lost"]
    assert report["format"] == "keypoints3d"
    for sentence in figures["lost"]:
        assert f"not in keypoints3d: {sentence}" in said
    assert len(figures["lost"]) == len(set(figures["lost"]))


def test_one_sequence_can_be_a_file(session, tmp_path, capsys):
    assert run(capsys, "export", "keypoints3d", session, "--out", tmp_path / "new" / "it.npz")[0] == 0
    assert sorted(tree(tmp_path)) == ["new/it.npz"]


def test_a_recording_is_what_the_store_holds(session, samples):
    arrays = clip()
    (recording,) = recordings([str(session)], None)
    part = recording.motion(slice(3, 7))
    for name in ("global_orient", "hand_pose", "transl", "joints", "valid"):
        np.testing.assert_array_equal(getattr(part, name), arrays[name][3:7])
    np.testing.assert_array_equal(part.betas, arrays["betas"])
    assert (recording.fps, recording.frames, recording.sample) == (30.0, 24, None)
    keypoints = recording.keypoints(slice(3, 7))
    assert keypoints is not None
    assert keypoints.points_m.shape == (4, 2, 21, 3)
    assert recording.cameras() is None
    assert recording.clips() == {}
    second = recordings([str(samples)], None)[1]
    np.testing.assert_array_equal(second.motion().transl, clip(seed=1)["transl"])
    np.testing.assert_array_equal(second.motion().betas, clip(seed=1)["betas"])
    assert second.keypoints() is None


# ---- names from data -------------------------------------------------------------------------------------------


@given(st.text())
def test_no_name_climbs_out_of_its_folder(text):
    name = safe_name(text)
    assert Path("/base", name).resolve().parent == Path("/base")
    assert not name.startswith(".")
    assert 0 < len(name) <= 80


@pytest.mark.parametrize("text", ["../../etc/passwd", "/etc/passwd", "..", "a\\..\\b", "\0", "C:\\x", "~/x", ""])
def test_names_that_mean_other_places(text):
    assert not set("/\\\0:~") & set(safe_name(text))
    assert Path(safe_name(text)).parts == (safe_name(text),)


def test_two_sequences_never_share_a_name(tmp_path):
    for folder in ("a", "b", "c"):
        fitted(tmp_path / folder / ("Hands" if folder == "c" else "hands"), clip(frames=3))
    found = recordings([str(tmp_path / each) for each in ("a/hands", "b/hands", "c/Hands")], None)
    assert [each.name for each in found] == ["hands", "hands-2", "Hands-3"]


# ---- what is in the way ----------------------------------------------------------------------------------------


def test_nothing_is_replaced_without_force_and_no_foreign_folder_ever(session, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    command = ("export", "keypoints3d", session, "--out")
    assert run(capsys, *command, out)[0] == 0, "an empty folder is free"
    (out / "hands.npz").write_bytes(b"old")
    assert "something is. Choose another place, or replace it with --force" in wrong(capsys, *command, out)
    assert (out / "hands.npz").read_bytes() == b"old"
    assert run(capsys, *command, out, "--force")[0] == 0
    assert (out / "hands.npz").read_bytes() != b"old"
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years")
    assert "which --force does not replace" in wrong(capsys, *command, mine, "--force")
    assert "which --force does not replace" in wrong(capsys, *command, session, "--force")
    assert tree(mine) == {"thesis.txt": b"years"}
    (tmp_path / "it.npz").write_bytes(b"old")
    assert "something is" in wrong(capsys, *command, tmp_path / "it.npz")
    assert run(capsys, *command, tmp_path / "it.npz", "--force")[0] == 0
    assert (tmp_path / "it.npz").read_bytes()[:2] == b"PK"
    assert not list(tmp_path.glob(".*"))


def test_what_cannot_be_exported(session, samples, tmp_path, capsys):
    command = ("export", "mano", "--out", tmp_path / "out")
    assert "no such folder" in wrong(capsys, *command, tmp_path / "nowhere")
    assert "expected a session to export" in wrong(capsys, *command)
    (tmp_path / "empty").mkdir()
    assert "handpipe fit" in wrong(capsys, *command, tmp_path / "empty")
    several = ("export", "mano", session, samples, "--out", tmp_path / "out.npz")
    assert "expected a folder for 4 sequences" in wrong(capsys, *several)
    other = fitted(tmp_path / "other", clip(frames=3), ids=["mano-1", "mano-2"])
    needs_model = wrong(capsys, "export", "gltf", other, "--out", tmp_path / "out.glb")
    assert "expected the hand model that it was fitted with (mano-1, mano-2)" in needs_model
    assert not (tmp_path / "out").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "other"]


def test_arrays_that_do_not_belong_together_are_refused(tmp_path, capsys):
    """A store that was cut off, or written by something else, has arrays of other lengths and kinds."""
    arrays = clip()
    short = fitted(tmp_path / "short", arrays)
    as_before_checksums(Store(str(short / "session.zarr")))
    zarr.open_array(short / "session.zarr" / "mano" / "transl").resize((3, 2, 3))
    for kind in ("mano", "gltf", "bvh", "trc", "csv", "hub"):
        said = wrong(capsys, "export", kind, short, "--out", tmp_path / "out")
        assert "mano/transl: expected numbers of shape (24, 2, 3), but found float32 of shape (3, 2, 3)" in said
    text = fitted(tmp_path / "kind", arrays)
    as_before_checksums(Store(str(text / "session.zarr")))
    group = zarr.open_group(text / "session.zarr" / "mano", use_consolidated=False)
    del group["valid"]
    group.create_array("valid", data=np.full(arrays["valid"].shape, np.nan))
    assert "mano/valid: expected booleans" in wrong(capsys, "export", "csv", text, "--out", tmp_path / "out")
    slow = fitted(tmp_path / "slow", arrays, fps=1e-300)
    assert "frames per second" in wrong(capsys, "export", "gltf", slow, "--out", tmp_path / "out")


def test_what_does_not_fit_into_the_memory_is_no_traceback(tmp_path, capsys, monkeypatch):
    """As a store says whose metadata was altered, or as a recording is that is too long."""
    session = fitted(tmp_path / "absurd", clip())
    as_before_checksums(Store(str(session / "session.zarr")))
    path = session / "session.zarr" / "mano" / "valid" / "zarr.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "shape": [10**13, 2]}))
    said = wrong(capsys, "export", "csv", session, "--out", tmp_path / "out")
    assert "it is damaged (an array of more than 1,000,000 chunks)" in said
    path.write_text(json.dumps({**json.loads(path.read_text()), "shape": list(clip()["valid"].shape)}))
    monkeypatch.setattr(Store, "read", lambda *_: np.empty(1 << 50))
    said = wrong(capsys, "export", "csv", session, "--out", tmp_path / "out")
    assert "expected data that fits into the memory" in said


def test_a_link_to_nothing_is_in_the_way(session, tmp_path, capsys):
    out = tmp_path / "out"
    out.symlink_to(tmp_path / "nowhere")
    assert "expected nothing there yet" in wrong(capsys, "export", "csv", session, "--out", out)
    assert run(capsys, "export", "csv", session, "--out", out, "--force")[0] == 0
    assert out.is_dir()
    assert not out.is_symlink()


# ---- interruptions ---------------------------------------------------------------------------------------------


def test_an_interrupted_export_leaves_what_was_there(session, samples, tmp_path):
    written = []

    def stops_at_the_second(recording, path):
        path.write_bytes(b"half")
        written.append(path)
        if len(written) == 2:
            raise KeyboardInterrupt
        return []

    for out in (tmp_path / "new", tmp_path / "again"):
        if out.name == "again":
            export(FORMATS["keypoints3d"], *_to(session, out))
        before = tree(tmp_path)
        written.clear()
        with pytest.raises(KeyboardInterrupt):
            export(writing(stops_at_the_second), *_to(samples, out), force=True)
        assert tree(tmp_path) == before
        assert not list(tmp_path.glob(".*"))


def _to(session, out):
    return [str(session)], out, None, Quiet()


def test_what_appeared_in_the_meantime_is_not_replaced(session, tmp_path):
    """Something else writes a folder there while the export is at work."""
    out = tmp_path / "out"

    def slow(recording, path):
        out.mkdir()
        (out / "theirs").write_text("kept")
        return []

    with pytest.raises(ExportError, match="expected nothing there yet"):
        export(writing(slow), *_to(session, out))
    assert sorted(tree(out)) == ["theirs"]


def test_two_exports_to_one_place_at_once_are_one_and_a_sentence(session, tmp_path):
    out = tmp_path / "out"

    def slow(recording, path):
        with pytest.raises(StoreError, match="expected nobody else to write there"):
            export(FORMATS["csv"], *_to(session, out))
        path.write_text("first")
        return []

    export(writing(slow), *_to(session, out))
    assert sorted(tree(out)) == [REPORT, "hands.x"]


KILLED = """
import os, signal, sys
from pathlib import Path
from toy_stage import Quiet
from handpipe.exchange.export_format import FileFormat
from handpipe.exchange.exporting import export

def write(recording, path):
    path.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)

into = FileFormat(name="x", title="", suffixes=(".x",), write=write)
export(into, [sys.argv[1]], Path(sys.argv[2]), None, Quiet())
"""


def test_a_killed_export_leaves_nothing_under_the_final_name_and_the_next_one_sweeps(session, tmp_path):
    out = tmp_path / "out [1]"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SUPPORT), *sys.path])}
    done = subprocess.run([sys.executable, "-c", KILLED, session, out], check=False, env=environment)
    assert done.returncode == -signal.SIGKILL
    claim = tmp_path / ".out [1].claim"
    (left,) = set(tmp_path.iterdir()) - {claim}
    assert left.name.startswith(".out [1].")
    at_work = tmp_path / re.sub(r"-\d+-", f"-{os.getppid()}-", left.name)
    at_work.mkdir()
    export(FORMATS["keypoints3d"], *_to(session, out))
    assert sorted(path.name for path in tmp_path.iterdir()) == [at_work.name, out.name]


def test_an_exporter_that_fails_ends_the_progress_bar(session, tmp_path):
    class Bar(Quiet):
        running = False

        def start(self, stage, total, done, noun):
            self.running = True

        def stop(self):
            self.running = False

    def fails(recording, path):
        raise ExportError("no")

    bar = Bar()
    with pytest.raises(ExportError):
        export(writing(fails), [str(session)], tmp_path / "out", None, bar)
    assert not bar.running
