"""Checkpoints: what comes back, whole after any kill, and what is refused."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch

from handpipe.core.errors import DiskError, GenerationError
from handpipe.generation.checkpoint import SCHEMA_VERSION, Checkpoint, Training, load, load_training, save

CONFIG = {
    "settings": {"window": 60, "loss": {"x0": 1.0}},
    "hand_model": ["procedural-1", "procedural-2"],
    "fps": 30.0,
    "window": 60,
    "representation": "local",
    "denoiser": "handdiffuse",
}


def checkpoint(value=1.0, **config):
    """Every number in it is `value`."""
    weights = {"a.weight": torch.full((3, 2), value), "b": torch.full((), value, dtype=torch.bfloat16)}
    return Checkpoint({**CONFIG, "value": value, **config}, weights, {"mean": torch.full((5,), value)})


def training(step, value=1.0):
    return Training(step, {"raw.a": torch.full((4,), value), "count": torch.tensor(step)}, {"curve": [value]})


def test_what_is_saved_comes_back(tmp_path):
    save(tmp_path / "c", checkpoint(2.5), training(7, 2.5))
    back = load(tmp_path / "c")
    assert {name: back.config[name] for name in CONFIG} == CONFIG
    assert back.config["schema_version"] == SCHEMA_VERSION
    assert "files" not in back.config
    assert back.weights["a.weight"].tolist() == [[2.5] * 2] * 3
    assert back.weights["b"].dtype == torch.bfloat16
    assert back.statistics["mean"].tolist() == [2.5] * 5
    resumed = load_training(tmp_path / "c")
    assert resumed is not None
    assert (resumed.step, resumed.values) == (7, {"curve": [2.5]})
    assert resumed.tensors["raw.a"].tolist() == [2.5] * 4
    assert resumed.tensors["count"].dtype == torch.int64


def test_a_checkpoint_without_training_cannot_be_resumed_but_saved_again(tmp_path):
    save(tmp_path, checkpoint(), None)
    assert load_training(tmp_path) is None
    save(tmp_path, load(tmp_path), training(3))
    assert load(tmp_path).config == {
        **checkpoint().config,
        "schema_version": SCHEMA_VERSION,
        "handpipe_version": "0.1.0",
    }
    assert load_training(tmp_path) is not None


def test_old_files_go_and_those_of_others_stay(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    for step in range(3):
        save(tmp_path, checkpoint(float(step)), training(step))
    names = sorted(path.name.split("-")[0] for path in tmp_path.iterdir())
    assert names == ["config.json", "model", "notes.txt", "statistics", "training", "values"]
    save(tmp_path, checkpoint(9.0), None)
    assert len(list(tmp_path.iterdir())) == 4


def test_tied_and_strided_tensors_are_written_out(tmp_path):
    base = torch.arange(6.0).reshape(2, 3)
    save(tmp_path, Checkpoint(CONFIG, {"a": base, "tied": base, "strided": base.T}, {}), None)
    weights = load(tmp_path).weights
    assert torch.equal(weights["tied"], base)
    assert torch.equal(weights["strided"], base.T)


def test_the_same_checkpoint_is_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        save(tmp_path / name, checkpoint(), training(1))
    a, b = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("a", "b"))
    assert a == b


# ---- killed at any moment ------------------------------------------------------------------------------------------

KILLED_AT = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_checkpoint import checkpoint, training, load, load_training, save
folder, seen, nth = Path({folder!r}), set(), 0
while True:
    nth += 1
    save(folder, checkpoint(1.0), training(1, 1.0))
    child = os.fork()
    if child == 0:
        changes = 0
        def count(event, args):
            global changes
            if event in ("os.rename", "os.remove", "os.mkdir") or (event == "open" and args[1] and "w" in args[1]):
                changes += 1
                if changes == nth:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(count)
        save(folder, checkpoint(2.0), training(2, 2.0))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    back, rest = load(folder), load_training(folder)
    values = {{back.config["value"], *back.weights["a.weight"].unique().tolist(), *rest.tensors["raw.a"].tolist(),
              *back.statistics["mean"].tolist(), float(rest.step), *rest.values["curve"]}}
    assert len(values) == 1, (nth, values)
    print(nth, os.WIFSIGNALED(status), *values)
    if not os.WIFSIGNALED(status):
        break
save(folder, checkpoint(3.0), training(3, 3.0))
print(len(list(folder.iterdir())))
"""


def test_killed_before_any_change_of_the_file_system_it_is_the_old_one_or_the_new(tmp_path):
    """SIGKILL before the n-th, for every n, while one checkpoint replaces another."""
    code = KILLED_AT.format(tests=str(Path(__file__).parent), folder=str(tmp_path / "c"))
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert out.returncode == 0, out.stderr
    *runs, left = [line.split() for line in out.stdout.splitlines()]
    # The folder; five files, each with both folders made, opened and renamed, config.json last; four old ones removed;
    # then one lives.
    assert [killed for _, killed, _ in runs] == ["True"] * 25 + ["False"]
    assert [value for *_, value in runs] == ["1.0"] * 21 + ["2.0"] * 5
    assert left == ["5"]  # nothing that a killed writer left stays


ENDLESS = """
import sys; from pathlib import Path
sys.path.insert(0, {tests!r})
from test_checkpoint import checkpoint, training, save
value = float(sys.argv[2])
while True:
    value += 1
    save(Path(sys.argv[1]), checkpoint(value), training(int(value), value))
    print(value, flush=True)
"""


def test_read_while_it_is_written_and_killed_at_random(tmp_path, rng):
    """A reader beside a writer that never pauses sees whole checkpoints, never older than the one before."""
    code, last, seen = ENDLESS.format(tests=str(Path(__file__).parent)), 0.0, set()
    for _ in range(2):
        writer = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path), str(last)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        writer.stdout.readline()
        end = time.monotonic() + rng.uniform(0.5, 1.0)
        while time.monotonic() < end:
            back, rest = load(tmp_path), load_training(tmp_path)
            values = {*back.weights["a.weight"].unique().tolist(), *back.statistics["mean"].tolist()}
            assert values == {back.config["value"]}
            assert rest is not None
            assert {*rest.tensors["raw.a"].tolist(), *rest.values["curve"]} == {float(rest.step)}
            assert last <= back.config["value"] <= rest.step
            last = back.config["value"]
            seen.add(last)
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        assert load(tmp_path).config["value"] >= last
    assert len(seen) > 3


def test_a_full_disk_is_one_sentence_and_the_old_checkpoint_stays(tmp_path, monkeypatch):
    save(tmp_path, checkpoint(1.0), None)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskError, match=r"No space left on device.*what is done is kept"):
        save(tmp_path, checkpoint(2.0), None)
    monkeypatch.undo()
    assert load(tmp_path).config["value"] == 1.0


# ---- what is refused -----------------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path):
    save(tmp_path, checkpoint(), training(1))
    return tmp_path


def edit(folder, **changes):
    """Change entries of config.json; None removes one."""
    config = json.loads((folder / "config.json").read_text())
    config = {name: value for name, value in {**config, **changes}.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(config))


def replaced(folder, kind, content):
    """Another content of a file, which config.json vouches for, as a hostile one would."""
    config = json.loads((folder / "config.json").read_text())
    entry = config["files"][kind]
    (folder / entry["name"]).write_bytes(content)
    entry.update(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    edit(folder, files=config["files"])


def test_no_checkpoint_there(tmp_path):
    (tmp_path / "file").write_text("")
    for name, found in (("nowhere", "no such folder"), ("file", "a file"), (".", "no config.json")):
        with pytest.raises(GenerationError, match=f"expected the folder of a checkpoint, but found {found}"):
            load(tmp_path / name)
    with pytest.raises(GenerationError, match="expected a folder for a checkpoint, but found a file"):
        save(tmp_path / "file", checkpoint(), None)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "expected JSON, but it cannot be read"),
        ("[1]", "expected a JSON object, but found a list"),
        ("[" * 100_000, "expected JSON, but it cannot be read"),
        ('{"fps": NaN}', "NaN is not a number"),
        ("{}", r"written by handpipe \(schema_version\), but found None"),
        ('{"schema_version": true}', "but found True"),
        (
            '{"schema_version": 99, "handpipe_version": "9.9"}',
            r"version 99 by a newer handpipe \(9.9\). Update handpipe",
        ),
        (
            '{"schema_version": 1, "handpipe_version": "0.1"}',
            r"handpipe 0.1 wrote it with version 1: .* Train it again",
        ),
        (" " * ((1 << 24) + 1), "expected no more than 16777216 bytes"),
    ],
    ids=range(9),
)
def test_a_config_that_is_none(saved, text, says):
    (saved / "config.json").write_text(text)
    for read in (load, load_training):
        with pytest.raises(GenerationError, match=says):
            read(saved)


def test_a_config_that_is_not_text(saved):
    (saved / "config.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(GenerationError, match="expected JSON, but it cannot be read"):
        load(saved)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("settings", None),
        ("settings", []),
        ("hand_model", "procedural-1"),
        ("hand_model", ["one"]),
        ("hand_model", [1, 2]),
        ("fps", "30"),
        ("fps", True),
        ("fps", 0),
        ("fps", float("1e999")),
        ("window", 60.5),
        ("window", -1),
        ("window", 10**9),
        ("fps", 1e300),
        ("representation", 1),
        ("denoiser", None),
    ],
)
def test_config_entries_that_are_not_what_they_should_be(saved, name, value):
    edit(saved, **{name: value})
    if value == float("inf"):
        path = saved / "config.json"
        path.write_text(path.read_text().replace("Infinity", "1e999"))
    with pytest.raises(GenerationError, match=f"config.json: '{name}': expected "):
        load(saved)


def test_a_pipe_for_a_config_keeps_nobody_waiting(saved):
    (saved / "config.json").unlink()
    os.mkfifo(saved / "config.json")
    with pytest.raises(GenerationError, match="expected JSON"):
        load(saved)


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd", "model", "config.json", "", 7, None])
def test_file_names_that_are_not_ours_are_not_opened(saved, name):
    files = json.loads((saved / "config.json").read_text())["files"]
    files["model"]["name"] = name
    edit(saved, files=files)
    with pytest.raises(GenerationError, match="'files': expected the name of a model file in the same folder"):
        load(saved)


@pytest.mark.parametrize("files", [None, [], {}, {"model": {}}, {"model": 1, "statistics": 2}])
def test_lists_of_files_that_are_none(saved, files):
    edit(saved, files=files)
    with pytest.raises(GenerationError, match="'files': expected "):
        load(saved)


def test_a_truncated_or_changed_file(saved):
    (path,) = saved.glob("model-*")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(GenerationError, match=rf"expected the {len(whole)} bytes .* found {len(whole) - 1} bytes"):
        load(saved)
    path.write_bytes(whole[:-1] + b"\x7f")
    with pytest.raises(GenerationError, match="truncated or damaged"):
        load(saved)
    path.unlink()
    with pytest.raises(GenerationError, match=f"expected the file {path.name} named in config.json, but there is no"):
        load(saved)
    os.mkfifo(path)
    with pytest.raises(GenerationError, match="found 0 bytes"):
        load(saved)


def test_training_files_may_be_removed_to_pass_a_checkpoint_on(saved):
    for path in (*saved.glob("training-*"), *saved.glob("values-*")):
        path.unlink()
    assert load(saved).weights
    with pytest.raises(GenerationError, match=r"expected the file training-.* there is no such file"):
        load_training(saved)


def header(text, data=b""):
    return len(text).to_bytes(8, "little") + text.encode() + data


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 7,
        (1 << 62).to_bytes(8, "little"),
        header("{"),
        header("[]"),
        header('{"a": {"dtype": "F32", "shape": [1000000000000], "data_offsets": [0, 4]}}', b"abcd"),
        header('{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}', b"abcdefgh"),
        header('{"a": {"dtype": "pickle", "shape": [1], "data_offsets": [0, 4]}}', b"abcd"),
        b"PK\x03\x04 a zip with a pickle in it",
    ],
    ids=range(9),
)
def test_hostile_safetensors(saved, content):
    for kind, read in (("model", load), ("statistics", load), ("training", load_training)):
        save(saved, checkpoint(), training(1))
        replaced(saved, kind, content)
        with pytest.raises(GenerationError, match=f"expected the {kind} as safetensors, but they cannot be read"):
            read(saved)


@pytest.mark.parametrize("bad", [torch.tensor([1.0, float("nan")]), torch.tensor([float("inf")]).to(torch.float16)])
def test_weights_that_are_not_finite(saved, bad):
    replaced(saved, "model", safetensors.torch.save({"fine": torch.ones(1), "w": bad}))
    with pytest.raises(GenerationError, match="finite numbers in the model, but `w` holds NaN or infinity"):
        load(saved)


@pytest.mark.parametrize("text", ["{}", '{"step": -1, "values": {}}', '{"step": 1, "values": []}', '{"step": true}'])
def test_a_training_state_that_is_none(saved, text):
    replaced(saved, "values", text.encode())
    with pytest.raises(GenerationError, match="expected a step number in the training state"):
        load_training(saved)


def test_expect_names_both_sides(saved):
    back = load(saved)
    back.expect(representation="local", hand_model=("procedural-1", "procedural-2"))
    with pytest.raises(GenerationError, match=f"{saved}: expected .* representation 'global', but .* with 'local'"):
        back.expect(representation="global")
    with pytest.raises(GenerationError, match="hand_model mano-1, mano-2, but it was trained with procedural-1, proc"):
        back.expect(hand_model=["mano-1", "mano-2"])
