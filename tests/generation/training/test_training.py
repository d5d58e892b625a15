"""Training and generating as the commands do it: exact resumption, a clip learnt by heart, what the store holds."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stored_motions import clip as clip_of
from stored_motions import fitted, write_mano

from handpipe.cli import main
from handpipe.core.errors import ConfigError, GenerationError, StoreError
from handpipe.core.storage.lock import claimed
from handpipe.core.storage.schema import MANO, group_spec
from handpipe.core.storage.store import Store
from handpipe.generation import checkpoint as checkpoints
from handpipe.generation.model.canonical_frame import canonical_frame
from handpipe.generation.model.controls import Controls
from handpipe.generation.sampling.loading import load_model
from handpipe.generation.sampling.run import Request, generate
from handpipe.generation.sampling.windows import SamplingOptions, sample_motion
from handpipe.generation.settings import SamplingSettings, TrainingSettings
from handpipe.generation.training import identity
from handpipe.generation.training.motion_sources import motion_digests
from handpipe.generation.training.run import train
from handpipe.generation.training.windows import Windows, open_sources
from handpipe.hand.loading import hand_models
from handpipe.hand.procedural_motion import two_hand_motion


def brief(**settings: Any) -> TrainingSettings:
    """A training of seconds."""
    return TrainingSettings(**{"batch": 4, "window": 24, "save_every": 2, "log_every": 2, **settings})


class Silent:
    """Progress that nobody watches; may stop the training at a step."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at, self.done, self.said = stop_at, 0, []

    def start(self, stage: str, total: int, done: int, noun: str) -> None:
        self.total, self.done = total, done

    def advance(self, amount: int) -> None:
        self.done += amount
        if self.done == self.stop_at:
            raise KeyboardInterrupt

    def stop(self) -> None: ...

    def say(self, text: str) -> None:
        self.said.append(text)


def everything(folder: Path) -> dict[str, torch.Tensor]:
    training = checkpoints.load_training(folder)
    assert training is not None
    return {**checkpoints.load(folder).weights, **training.tensors}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A short training that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "checkpoint"
    train(["procedural:2"], brief(steps=7), None, folder, Silent())
    return folder


@pytest.mark.parametrize("stop_at", [1, 3, 6])
def test_a_training_that_was_stopped_goes_on_to_the_same_bits(whole, tmp_path, stop_at):
    settings = brief(steps=7)
    with pytest.raises(KeyboardInterrupt):
        train(["procedural:2"], settings, None, tmp_path, Silent(stop_at))
    again = Silent()
    train(["procedural:2"], settings, None, tmp_path, again)
    assert again.done == 7
    assert (len(again.said) == 1) == (stop_at > 2), "what was saved is not computed again"
    expected, found = everything(whole), everything(tmp_path)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_the_command_killed_at_a_random_moment_resumes_to_the_same_bits(tmp_path):
    command = [sys.executable, "-m", "handpipe.cli", "train-diffusion", "procedural:1", "--steps", "8", "--batch", "4"]
    command += ["--window", "24", "--save-every", "1", "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def run(folder: Path, kill: bool) -> int:
        process = subprocess.Popen([*command, "--out", str(folder)], env=environment, stderr=subprocess.DEVNULL)
        if kill:
            deadline = time.monotonic() + 120
            while not (folder / "config.json").exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(float(np.random.default_rng().uniform(0, 0.8)))
            process.send_signal(signal.SIGKILL)
        return process.wait(timeout=240)

    assert run(tmp_path / "whole", kill=False) == 0
    run(tmp_path / "killed", kill=True)
    assert run(tmp_path / "killed", kill=False) == 0
    expected, found = everything(tmp_path / "whole"), everything(tmp_path / "killed")
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_another_seed_is_another_training(whole, tmp_path):
    train(["procedural:2"], brief(steps=7, seed=1), None, tmp_path, Silent())
    expected, found = everything(whole), everything(tmp_path)
    assert not all(torch.equal(expected[name], found[name]) for name in expected)


def test_a_folder_with_another_training_is_not_overwritten(whole):
    before = everything(whole)
    with pytest.raises(GenerationError, match=r"different settings \(steps 7, now steps 9\).*--force"):
        train(["procedural:2"], brief(steps=9), None, whole, Silent())
    with pytest.raises(GenerationError, match="different sources"):
        train(["procedural:3"], brief(steps=7), None, whole, Silent())
    after = everything(whole)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_finished_training_is_up_to_date(whole):
    progress = Silent()
    assert train(["procedural:2"], brief(steps=7), None, whole, progress)["computed"] is False
    assert "up to date" in progress.said[0]


# ---- the same training, or another ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def _of_a_session(tmp_path_factory) -> Path:
    """`session`, and `half` and `done`: checkpoints of a training on it that was stopped, and that was not."""
    root = tmp_path_factory.mktemp("identity")
    fitted(root / "session", clip_of(frames=40))
    with pytest.raises(KeyboardInterrupt):
        train([str(root / "session")], brief(steps=4), None, root / "half", Silent(3))
    shutil.copytree(root / "half", root / "done")
    train([str(root / "session")], brief(steps=4), None, root / "done", Silent())
    return root


@pytest.fixture
def of_a_session(_of_a_session, tmp_path, monkeypatch) -> Path:
    """A copy of it, under the name that the checkpoints know."""
    root = Path(shutil.copytree(_of_a_session, tmp_path / "copy"))
    for name in ("half", "done"):
        config = json.loads((root / name / "config.json").read_text())
        digest = config["motion"][str(_of_a_session / "session")]
        own = {"sources": ["session"], "motion": {"session": digest}}
        (root / name / "config.json").write_text(json.dumps({**config, **own}))
    monkeypatch.chdir(root)
    return root


@pytest.mark.parametrize("name", ["half", "done"])
def test_altered_motion_of_the_same_name_and_length_is_another_training(of_a_session, name):
    before = everything(of_a_session / name)
    shutil.rmtree("session")
    fitted(Path("session"), clip_of(frames=40, seed=8))
    with pytest.raises(GenerationError, match=r"different motion \(session \w{16}, now session \w{16}\).*--force"):
        train(["session"], brief(steps=4), None, of_a_session / name, Silent())
    after = everything(of_a_session / name)
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_the_same_motion_in_another_place_or_other_chunks_is_the_same_training(of_a_session):
    arrays = {name: Store("session/session.zarr").read("mano", name) for name in ("betas", "valid")}
    motion = {**clip_of(frames=40), **arrays}
    shutil.rmtree("session")
    write_mano(Path("session"), motion, valid=motion["valid"], chunk=7)
    train(["session"], brief(steps=4), None, of_a_session / "half", Silent())
    expected, found = everything(of_a_session / "done"), everything(of_a_session / "half")
    assert all(torch.equal(expected[name], found[name]) for name in expected)


@pytest.mark.parametrize("name", ["betas", "global_orient", "hand_pose", "transl", "valid"])
def test_everything_that_is_learnt_from_counts(tmp_path, name):
    before = clip_of(frames=30)
    after = {**before, name: before[name].copy()}
    after[name].flat[-1] = not after[name].flat[-1] if name == "valid" else after[name].flat[-1] + 1e-6
    fitted(tmp_path / "before", before)
    fitted(tmp_path / "after", after)
    fitted(tmp_path / "faster", before, fps=31.0)
    found = [
        motion_digests(open_sources([str(tmp_path / each)], 30.0, 8, None)) for each in ("before", "after", "faster")
    ]
    assert len({digest for digests in found for digest in digests.values()}) == 3


def test_another_version_of_the_training_code_is_another_training(of_a_session, monkeypatch):
    monkeypatch.setattr(identity, "CODE", identity.CODE + 1)
    with pytest.raises(GenerationError, match=rf"different code \({identity.CODE - 1}, now {identity.CODE}\)"):
        train(["session"], brief(steps=4), None, of_a_session / "half", Silent())


def test_the_large_preset_in_bfloat16_does_a_step_on_the_cpu(tmp_path):
    settings = brief(steps=1, batch=2, window=8, preset="base", precision="bfloat16")
    figures = train(["procedural:1"], settings, None, tmp_path, Silent())
    assert all(np.isfinite(value) for value in figures["loss"].values())
    assert load_model(tmp_path, None, torch.device("cpu"), "bfloat16").model.bfloat16


@pytest.mark.parametrize("rate", [1e3, 1e12])
def test_a_training_that_diverges_says_so_and_stops(tmp_path, rate):
    """Whether or not there is still a number."""
    with pytest.raises(GenerationError, match=r"`(x0|expected)`? is .*: the training diverges. Reduce --learning-rate"):
        train(["procedural:1"], brief(steps=40, learning_rate=rate, log_every=3), None, tmp_path, Silent())


def test_a_checkpoint_of_an_earlier_handpipe_is_refused_and_says_why(of_a_session, capsys):
    config = of_a_session / "done" / "config.json"
    saved = json.loads(config.read_text())
    config.write_text(json.dumps(saved | {"schema_version": 1}))
    argv = ["train-diffusion", "session", "--out", "done", "--steps", "4", "--batch", "4", "--window", "24"]
    for words in (argv, ["generate", "done", "out.zarr", "--frames", "24"]):
        assert main(words) == 2
        said = " ".join(capsys.readouterr().err.split())
        assert "wrote it with version 1: its model is built differently. Train it again" in said
    assert main([*argv, "--force"]) == 0


def test_a_checkpoint_without_a_network_of_the_expected_motion_has_the_prior_s(whole, tmp_path):
    """Checkpoints of version 4."""
    checkpoint = checkpoints.load(whole)
    of_denoiser = {n.removeprefix("denoiser."): w for n, w in checkpoint.weights.items() if n.startswith("denoiser.")}
    assert len(of_denoiser) < len(checkpoint.weights)
    checkpoints.save(tmp_path / "old", replace(checkpoint, weights=of_denoiser), None)
    old, new = (load_model(folder, None, torch.device("cpu")).model for folder in (tmp_path / "old", whole))
    assert old.expectation is None
    assert new.expectation is not None
    assert isinstance(old.denoiser, torch.nn.Module)
    assert all(torch.equal(old.denoiser.state_dict()[name], value) for name, value in of_denoiser.items())


def test_a_checkpoint_whose_network_says_nothing_of_the_spread_has_the_prior_s(whole, tmp_path):
    """Those of code version 6."""
    checkpoint = checkpoints.load(whole)
    before = {name: value for name, value in checkpoint.weights.items() if not name.startswith("expectation.scale.")}
    assert len(before) < len(checkpoint.weights)
    checkpoints.save(tmp_path / "old", replace(checkpoint, weights=before), None)
    old, new = (load_model(folder, None, torch.device("cpu")).model for folder in (tmp_path / "old", whole))
    assert isinstance(old.expectation, torch.nn.Module)
    assert isinstance(new.expectation, torch.nn.Module)
    weights = old.expectation.state_dict()
    kept = {name: value for name, value in before.items() if name.startswith("expectation.")}
    assert all(torch.equal(weights[name.removeprefix("expectation.")], value) for name, value in kept.items())
    assert not weights["scale.4.weight"].any()


@pytest.mark.parametrize("denoiser", ["handdiffuse", "mdm", "intergen"])
@pytest.mark.parametrize("representation", ["global", "local"])
@pytest.mark.parametrize("prior", [True, False])
def test_every_denoiser_trains_in_both_representations(tmp_path, denoiser, representation, prior):
    held_out = ("procedural/1",)
    settings = brief(steps=2, denoiser=denoiser, representation=representation, prior=prior, held_out=held_out)
    figures = train(["procedural:2"], settings, None, tmp_path, Silent())
    assert set(figures["loss"]) == set(figures["held_out_loss"])
    assert all(np.isfinite(value) for value in figures["held_out_loss"].values())
    loaded = load_model(tmp_path, None, torch.device("cpu"))
    controls = clip_controls(loaded, ends_only=True)
    motion = sample_motion(loaded.model, controls, loaded.R_home, 24, SamplingOptions(), 0, range(1))
    assert (motion.wrist_m[:, [0, -1]] - controls.motion.wrist_m[:, [0, -1]]).abs().max() < 1e-5


def clip_controls(loaded, ends_only: bool) -> Controls:
    """The first 24 frames of the first procedural clip."""
    source = open_sources(["procedural:1"], 30.0, 24, None)[0]
    read = next(Windows([source], 24, 30.0).every(24))
    numbers = (read.betas, read.global_orient, read.hand_pose, read.transl)
    motion = loaded.model.kinematics.from_mano(*(torch.tensor(part[:1]) for part in numbers))
    has = torch.zeros(1, 24, 2, dtype=torch.bool)
    has[:, [0, -1]] = True
    return Controls(motion, has, has, has) if ends_only else Controls.all(motion)


def one_clip_store(folder: Path, frames: int) -> Path:
    """A store with one fitted clip and nothing else."""
    clip = two_hand_motion(frames, 30.0, seed=3)
    left, right = hand_models(None)
    joints = np.stack(
        [
            model.joints(clip.betas[h], clip.global_orient[:, h], clip.hand_pose[:, h], clip.transl[:, h])
            for h, model in enumerate((left, right))
        ],
        axis=1,
    )
    attrs = {"fps": 30.0, "hand_model": [left.model_id, right.model_id]}
    store = Store(str(folder))
    store.open()
    store.create(group_spec("mano", MANO, {"frame": frames}, {"frame": frames}, {}, attrs))
    blocks = {
        "betas": clip.betas,
        "global_orient": clip.global_orient,
        "hand_pose": clip.hand_pose,
        "transl": clip.transl,
        "joints": joints,
        "residual": np.zeros((frames, 2)),
        "valid": np.ones((frames, 2), bool),
    }
    store.write(
        "mano", (0,), {name: block.astype("float32") if name != "valid" else block for name, block in blocks.items()}
    )
    store.finish("mano")
    return folder


def test_one_clip_is_learnt_by_heart(tmp_path):
    """With a single window to learn from, the network soon knows far more of it than the prior can."""
    clip = one_clip_store(tmp_path / "clip.zarr", frames=32)
    settings = TrainingSettings(steps=250, batch=16, window=32, mirror=False, learning_rate=3e-3, ema_decay=0.95)
    train([str(clip)], settings, None, tmp_path / "checkpoint", Silent())
    loaded = load_model(tmp_path / "checkpoint", None, torch.device("cpu"))
    model = loaded.model
    read = next(Windows(open_sources([str(clip)], 30.0, 32, None), 32, 30.0).every(1))
    numbers = (read.betas, read.global_orient, read.hand_pose, read.transl)
    truth = model.kinematics.from_mano(*(torch.tensor(part) for part in numbers))
    has = torch.zeros(1, 32, 2, dtype=torch.bool)
    has[:, [0, -1]] = True
    controls = Controls(truth, has, has, has)
    controls = controls.moved(*canonical_frame(controls, loaded.R_home))
    packed, given = model.pack(controls.motion), model.conditioning(controls, 32)
    joints_m = model.kinematics.joints(controls.motion)

    def error_m(x0: torch.Tensor) -> float:
        return float((model.kinematics.joints(model.unpack(x0, truth.betas)) - joints_m).norm(dim=-1).mean())

    noise = torch.randn(packed.shape, generator=torch.Generator().manual_seed(0))
    for timestep in (750, 850):
        t = torch.tensor([timestep])
        x_t = model.schedule.add_noise(packed, noise, t)
        assert given.conditional is not None
        wiener, _ = given.conditional.posterior(x_t, model.schedule.alpha(t), model.schedule.sigma(t))
        with torch.no_grad():
            assert error_m(model.predict(x_t, t, given)[0]) < 0.6 * error_m(wiener), timestep


# ---- the commands ------------------------------------------------------------------------------------------------


def test_generate_writes_motion_that_obeys(whole, tmp_path, capsys):
    clip = one_clip_store(tmp_path / "clip.zarr", frames=60)
    out = tmp_path / "out.zarr"
    argv = [
        "generate",
        str(whole),
        str(out),
        "--count",
        "3",
        "--frames",
        "50",
        "--keyframes",
        f"{clip}:5,20,40",
        "--json",
    ]
    assert main(argv) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["computed"]
    assert (figures["samples"], figures["frames"]) == (3, 50)
    store, source = Store(str(out)), Store(str(clip))
    assert store.read("mano", "joints").shape == (3, 50, 2, 21, 3)
    given = source.read("mano", "joints")[[5, 20, 40]]
    assert np.abs(store.read("mano", "joints")[:, [0, 15, 35]] - given).max() < 1e-5
    assert store.attrs("mano")["keyframes"] == [0, 15, 35]
    first = store.read("mano", "hand_pose")
    assert main(argv) == 0
    assert json.loads(capsys.readouterr().out)["computed"] is False
    shutil.rmtree(out)
    assert main(argv) == 0
    assert np.array_equal(first, store.read("mano", "hand_pose")), "the same seed gives the same bits"
    assert main([*argv, "--seed", "1"]) == 2
    assert "--force" in capsys.readouterr().err
    assert main([*argv, "--seed", "1", "--force"]) == 0
    assert not np.array_equal(first, store.read("mano", "hand_pose"))


def test_generate_follows_a_trajectory(whole, tmp_path):
    path = tmp_path / "path.csv"
    rows = [f"{frame},left,{-0.1 + 0.002 * frame},{0.3},{0.2}" for frame in range(24)]
    path.write_text("\n".join(["frame,hand,x,y,z", *rows]))
    out = tmp_path / "out.zarr"
    assert main(["generate", str(whole), str(out), "--trajectory", str(path), "--count", "2"]) == 0
    wrist = Store(str(out)).read("mano", "joints")[:, :, 0, 0]
    wanted = np.stack([-0.1 + 0.002 * np.arange(24), np.full(24, 0.3), np.full(24, 0.2)], axis=-1)
    assert np.abs(wrist - wanted).max() < 1e-5


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (["--frames", "30", "--keyframes", "CLIP:0,59"], "the clip has 30 frames"),
        (["--frames", "0"], "2 or more frames"),
        (["--keyframes", "nowhere.npz"], "nowhere.npz"),
        (["--steps", "7", "--sampler", "ddim"], "divides 1000"),
        (["--device", "cuda"], "GPU"),
    ],
)
def test_wrong_requests_are_told_and_leave_nothing(whole, tmp_path, capsys, change, says):
    if "cuda" in change and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    clip = one_clip_store(tmp_path / "clip.zarr", frames=60)
    out = tmp_path / "out.zarr"
    argv = ["generate", str(whole), str(out), *(word.replace("CLIP", str(clip)) for word in change)]
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert says in error
    assert "Traceback" not in error
    assert not out.exists()


def test_contradicting_trajectory_and_keyframes_name_the_place(whole, tmp_path, capsys):
    clip = one_clip_store(tmp_path / "clip.zarr", frames=60)
    path = tmp_path / "path.csv"
    path.write_text("frame,hand,x,y,z\n10,right,0.9,0.9,0.9\n")
    argv = [
        "generate",
        str(whole),
        str(tmp_path / "out.zarr"),
        "--keyframes",
        f"{clip}:0,10",
        "--trajectory",
        str(path),
    ]
    assert main([*argv, "--frames", "24"]) == 2
    error = capsys.readouterr().err
    assert "right wrist at frame 10" in error
    assert not (tmp_path / "out.zarr").exists()


def test_a_checkpoint_of_another_representation_does_not_load(whole, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "checkpoint")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "representation": "local"}))
    with pytest.raises(GenerationError, match="do not fit"):
        load_model(folder, None, torch.device("cpu"))


@pytest.mark.parametrize("name", ["mean", "std", "correlation", "R_home", "betas"])
@pytest.mark.parametrize(
    "change", [lambda v: v[:1, ..., :1].clone() if v.ndim > 1 else v[:1], lambda v: v[:0], torch.sum, torch.Tensor.int]
)
def test_statistics_of_another_shape_do_not_load(whole, tmp_path, name, change):
    """They would broadcast to motion of no sense."""
    checkpoint = checkpoints.load(whole)
    statistics = {**checkpoint.statistics, name: change(checkpoint.statistics[name])}
    checkpoints.save(tmp_path / "bad", replace(checkpoint, statistics=statistics), None)
    with pytest.raises(GenerationError, match=rf"do not fit \({name}: "):
        load_model(tmp_path / "bad", None, torch.device("cpu"))


def test_a_preset_that_is_no_name_does_not_load(whole, tmp_path):
    checkpoint = checkpoints.load(whole)
    config = {**checkpoint.config, "settings": {**checkpoint.config["settings"], "preset": ["small"]}}
    checkpoints.save(tmp_path / "bad", replace(checkpoint, config=config), None)
    with pytest.raises(GenerationError, match="expected a preset"):
        load_model(tmp_path / "bad", None, torch.device("cpu"))


def test_motion_is_never_generated_over_a_session(whole, tmp_path):
    session = fitted(tmp_path / "hands", clip_of()) / "session.zarr"
    Store(str(session)).remove("mano")
    before = sorted(session.rglob("*"))
    for force in (False, True):
        with pytest.raises(GenerationError, match="a session's store with keypoints, which is never replaced"):
            generate(whole, session, Request(), SamplingSettings(steps=1), None, Silent(), force=force)
    assert sorted(session.rglob("*")) == before


def test_more_frames_than_fit_are_refused(whole, tmp_path):
    with pytest.raises(ConfigError, match="at most 1000000 frames in all samples together"):
        generate(whole, tmp_path / "out.zarr", Request(count=10**9), SamplingSettings(), None, Silent())


class Meanwhile(Silent):
    """Does something else in the middle of the work."""

    def __init__(self, act) -> None:
        super().__init__()
        self.act = act

    def advance(self, amount: int) -> None:
        super().advance(amount)
        if self.done == 1:
            self.act()


def test_two_generate_into_one_place_do_not_lose_motion(whole, tmp_path):
    out = tmp_path / "two.zarr"
    few = SamplingSettings(steps=2, device="cpu")

    def one(seed: int, progress: Any, *, force: bool = False) -> None:
        generate(whole, out, Request(seed=seed, frames=8), few, None, progress, force=force)

    def second() -> None:
        with pytest.raises(StoreError, match=r"two\.zarr: expected nobody else to write there"):
            one(4, Silent(), force=True)

    one(3, Meanwhile(second))
    seed = Store(str(out)).fingerprint("mano")["settings"]["seed"]  # pyright: ignore[reportOptionalSubscript]
    assert seed == 3
    assert [path.name for path in tmp_path.iterdir()] == ["two.zarr"]
    with pytest.raises(GenerationError, match="found other motion"):
        one(4, Silent())


def test_motion_that_appears_while_other_is_drawn_is_kept(whole, tmp_path):
    """As on a file system without locks: then the check before it is published decides."""
    out, other = tmp_path / "two.zarr", tmp_path / "other.zarr"
    few = SamplingSettings(steps=2, device="cpu")
    generate(whole, other, Request(seed=4, frames=8), few, None, Silent())
    late = Meanwhile(lambda: shutil.copytree(other, out))
    with pytest.raises(GenerationError, match="found other motion"):
        generate(whole, out, Request(seed=3, frames=8), few, None, late)
    assert Store(str(out)).fingerprint("mano") == Store(str(other)).fingerprint("mano")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.zarr", "two.zarr"]


def test_two_trainings_into_one_folder_do_not_mix(tmp_path):
    folder = tmp_path / "m"

    def second() -> None:
        with pytest.raises(StoreError, match="m: expected nobody else to write there"):
            train(["procedural:1"], brief(steps=1, batch=2, seed=1), None, folder, Silent())

    train(["procedural:1"], brief(steps=2, batch=2), None, folder, Meanwhile(second))
    assert checkpoints.load(folder).config["settings"]["seed"] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_an_export_into_a_place_that_another_is_writing_is_refused(tmp_path, capsys):
    root = fitted(tmp_path / "s", clip_of(6))
    with claimed(tmp_path / "out"):
        assert main(["export", "mano", str(root), "--out", str(tmp_path / "out")]) == 2
    assert "out: expected nobody else to write there" in capsys.readouterr().err
    assert main(["export", "mano", str(root), "--out", str(tmp_path / "out")]) == 0
