"""`handpipe evaluate` and `train-evaluator`: known answers through the store, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import zarr
from old_stores import as_before_checksums
from untrained import clips, masked, some

from handpipe.cli import main
from handpipe.core.errors import GenerationError
from handpipe.core.storage.store import Store
from handpipe.generation.evaluation.evaluator import Evaluator
from handpipe.generation.evaluation.evaluator_file import KEY, load_evaluator, train_to_file
from handpipe.generation.evaluation.mesh_overlap import Overlap, Skin
from handpipe.generation.evaluation.run import Question, evaluate
from handpipe.generation.evaluation.scores import HandPair, agreement_scores, overlap_scores, set_scores
from handpipe.generation.model.controls import Controls
from handpipe.generation.model.kinematics import Kinematics
from handpipe.generation.model.motion import Motion
from handpipe.generation.sampling.output import given_arrays, mano_arrays, write_motions
from handpipe.generation.settings import EvaluationSettings, EvaluatorSettings
from handpipe.hand.loading import hand_models
from handpipe.screen import Screen

WINDOW = 24
LITTLE = EvaluationSettings(mesh_frames=6)
BRIEF = EvaluatorSettings(window=WINDOW, steps=2, batch=8)


def written(out: Path, motion: Motion, given: Controls | None = None, **attrs: Any) -> str:
    """A store as `handpipe generate` leaves it."""
    models = hand_models(None)
    known = {"fps": 30.0, "hand_model": [model.model_id for model in models], "keyframes": []}
    arrays = mano_arrays(Kinematics.of_models(models), motion)
    write_motions(out, arrays, given_arrays(given or Controls.none(motion)), {}, {**known, **attrs})
    return str(out)


@pytest.fixture(scope="module")
def motion() -> Motion:
    """Short clips."""
    return clips(60).window(slice(12, 12 + WINDOW))


@pytest.fixture(scope="module")
def long() -> Motion:
    """One clip of 66 windows: just enough for a Frechet distance."""
    parts = [clips(60).window(slice(start, start + WINDOW)) for start in (0, 12, 36)]
    rows = [some(part, number) for part in parts for number in range(22)]

    def joined(name: str) -> torch.Tensor:
        return torch.cat([getattr(row, name) for row in rows], dim=1)

    return Motion(joined("wrist_m"), joined("R_world_wrist"), joined("R_pose"), rows[0].betas)


@pytest.fixture(scope="module")
def evaluator(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("evaluator") / "e.safetensors"
    train_to_file(["procedural:2"], BRIEF, None, path, Screen())
    return path


def measured(generated: str, reference: str, evaluator: Path | None, start: int | None = None) -> dict[str, Any]:
    return evaluate(Question(generated, (reference,), evaluator, start), LITTLE, None, Screen())


# ---- known answers -------------------------------------------------------------------------------------------------


def test_motion_against_itself_is_perfect(long, evaluator, tmp_path, capsys):
    """As the command prints it."""
    store = written(tmp_path / "a.zarr", long)
    command = [
        "evaluate",
        store,
        store,
        "--evaluator",
        str(evaluator),
        "--mesh-frames",
        "6",
        "--stride",
        str(WINDOW),
        "--json",
    ]
    assert main(command) == 0
    out = capsys.readouterr()
    report = json.loads(out.out)
    figures = report["figures"]
    assert figures["windows"] == 66
    assert figures["fid"] == pytest.approx(0, abs=1e-6)
    assert figures["precision"] == figures["recall"] == figures["jerk_ratio"] == 1
    assert figures["diversity"] == pytest.approx(figures["diversity_real"])
    assert figures["contact_20mm_share"] == figures["contact_20mm_share_real"]
    assert "fid_real" in report["left_out"]
    assert report["evaluator"]["digest"] == load_evaluator(evaluator, None).record["digest"]
    assert report["evaluator"]["settings"]["seed"] == 0
    assert "FID" in out.err
    assert "in common" in report["left_out"]["multimodality"]


def test_the_same_question_has_the_same_answer(motion, evaluator, tmp_path):
    one, other = (written(tmp_path / name, some(motion, *chosen)) for name, chosen in (("a", range(4)), ("b", [5, 9])))
    first, again = (measured(one, other, evaluator) for _ in range(2))
    assert first == again
    assert first["figures"]["windows"] == 2
    assert "65 windows" in first["left_out"]["fid"]
    assert "6 windows" in first["left_out"]["precision"]


def test_what_was_asked_for_is_stored_and_missed_by_what_is_measured(motion, evaluator, tmp_path):
    """Four samples; the first passes frame 5 of its left hand 7 mm off, turned by 10 degrees, with a bent finger."""
    asked = some(motion, 3, 3, 3, 3)
    made = some(motion, 3, 3, 3, 3)
    angle = torch.tensor(np.radians(10.0))
    turn = torch.tensor([[angle.cos(), -angle.sin(), 0], [angle.sin(), angle.cos(), 0], [0, 0, 1]]).float()
    made.wrist_m[0, 5, 0] += torch.tensor([0.0, 0.007, 0.0])
    made.R_world_wrist[0, 5, 0] = made.R_world_wrist[0, 5, 0] @ turn
    made.R_pose[0, 5, 0, 2] = made.R_pose[0, 5, 0, 2] @ turn
    made.wrist_m[1, 9] += 1.0  # where nothing was asked for
    given = masked(asked, [5, 20])
    figures = measured(written(tmp_path / "a.zarr", made, given), "procedural:1", evaluator)["figures"]
    assert figures["keyframe_wrist_mm"] == pytest.approx(7 / 16, rel=1e-3)
    assert figures["keyframe_wrist_worst_mm"] == pytest.approx(7, rel=1e-3)
    assert figures["keyframe_orient_deg"] == pytest.approx(10 / 16, rel=1e-3)
    assert figures["keyframe_pose_deg"] == pytest.approx(10 / 16 / 15, rel=1e-2)
    assert figures["keyframe_missed_5mm_share"] == 0.25
    assert figures["keyframe_missed_10mm_share"] == 0
    assert figures["multimodality"] > 0
    assert figures["seam_ratio"] > 0
    path = measured(written(tmp_path / "b.zarr", made, masked(asked, [5, 20], path=True)), "procedural:1", evaluator)
    assert path["figures"]["trajectory_wrist_worst_mm"] == pytest.approx(7, rel=1e-3)
    assert "keyframe_wrist_mm" not in path["figures"]
    assert "no keyframe" in path["left_out"]["keyframe_wrist_mm"]


def test_samples_that_retell_the_truth_agree_with_it(motion, evaluator, tmp_path):
    truth = written(tmp_path / "truth.zarr", some(clips(60), 3), fps=60.0)
    kept = some(clips(60), 3, 3).over_time(lambda part: part[:, 4 : 4 + 2 * WINDOW : 2])
    store = written(tmp_path / "a.zarr", kept)
    told = measured(store, truth, evaluator, start=4)["figures"]
    assert told["joint_error_mm"] == pytest.approx(0, abs=1e-3)
    assert told["contact_5mm_f1"] == told["contact_20mm_f1"] == 1
    assert measured(store, truth, evaluator, start=8)["figures"]["joint_error_mm"] > 1


def test_a_mesh_that_failed_is_counted_and_is_no_zero():
    deep = Overlap(0.004, 2e-7, 0.0)
    apart = Overlap(0.0, 0.0, 0.004)
    found = overlap_scores([deep, None, apart, None]).figures
    assert (found["mesh_frames"], found["mesh_failures"]) == (4, 2)
    assert (found["penetration_mm"], found["penetration_worst_mm"], found["penetration_share"]) == (2, 4, 0.5)
    assert found["penetration_mm3"] == pytest.approx(100)
    assert (found["contact_5mm_share"], found["contact_20mm_share"]) == (1, 1)
    none = overlap_scores([None, None])
    assert none.figures == {"mesh_frames": 2, "mesh_failures": 2}
    assert {"penetration_mm", "contact_5mm_share"} <= none.left_out.keys()


def test_a_broken_hand_model_fails_in_every_frame(motion):
    left, right = hand_models(None)
    torn = replace(right, faces=np.delete(right.faces, [100, 900], axis=0))
    numbers = mano_arrays(Kinematics.of_models((left, right)), some(motion, 0))
    arrays = [numbers[name] for name in ("betas", "global_orient", "hand_pose", "transl")]
    assert list(HandPair.of((left, torn)).overlaps(*arrays, count=5)) == [None] * 5
    assert None not in list(HandPair.of((left, right)).overlaps(*arrays, count=5))
    assert len(Skin.of(torn.faces, torn.v_template).rim) == 0


def test_contact_is_compared_where_both_are_known():
    near, far = Overlap(0.0, 0.0, 0.012), Overlap(0.0, 0.0, np.inf)
    scores = agreement_scores([near, near, far, None], [near, far, far, near]).figures
    assert (scores["contact_20mm_precision"], scores["contact_20mm_recall"]) == (0.5, 1)
    assert scores["contact_5mm_f1"] == 1, "nobody touches so closely, and nobody says so"


def test_few_windows_leave_out_what_takes_more_and_say_so():
    features = torch.randn(5, 64, generator=torch.Generator().manual_seed(0))
    scores = set_scores(features, features, others=features)
    assert {"kid", "diversity", "kid_real"} <= scores.figures.keys()
    assert scores.left_out.keys() == {"fid", "fid_real", "precision", "recall"}
    assert set_scores(features[:1], features[:1]).figures == {"windows": 1}


# ---- the evaluator's file ------------------------------------------------------------------------------------------


def test_training_an_evaluator_says_what_it_is_and_repeats(evaluator, tmp_path, capsys):
    out = tmp_path / "again.safetensors"
    flags = ["--window", str(WINDOW), "--steps", "2", "--batch", "8", "--out", str(out), "--json"]
    assert main(["train-evaluator", "procedural:2", *flags]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record == load_evaluator(out, None).record == load_evaluator(evaluator, None).record
    assert record["sources"] == ["procedural:2"]
    assert main(["train-evaluator", "procedural:2", *flags]) == 2
    assert "--force" in capsys.readouterr().err
    assert main(["train-evaluator", "procedural:2", *flags, "--seed", "1", "--force"]) == 0
    assert json.loads(capsys.readouterr().out)["digest"] != record["digest"]


def test_a_file_that_is_no_evaluator_is_refused(motion, evaluator, tmp_path, capsys):
    store = written(tmp_path / "a.zarr", some(motion, 0, 1))
    junk, other, damaged = (tmp_path / name for name in ("junk", "other", "damaged"))
    junk.write_bytes(b"\x10\0\0\0\0\0\0\0not a header....")
    safetensors.torch.save_file({"x": torch.zeros(3)}, other)
    content = bytearray(evaluator.read_bytes())
    content[-50] ^= 0xFF
    damaged.write_bytes(content)
    for path, says in ((junk, "cannot be read"), (other, "other tensors"), (damaged, "damaged"), (tmp_path, "no such")):
        assert main(["evaluate", store, "procedural:1", "--evaluator", str(path)]) == 2
        assert says in capsys.readouterr().err


def test_an_evaluator_whose_record_or_numbers_are_none_is_refused(evaluator, tmp_path):
    known = load_evaluator(evaluator, None)
    tensors = {name: value.contiguous() for name, value in known.evaluator.state.items()}
    nowhere = {**tensors, "code_std": tensors["code_std"] * float("nan")}
    digest = Evaluator.of_state(nowhere).digest
    for name, (state, record) in {
        "sources": (tensors, {**known.record, "sources": 5}),
        "windows": (tensors, {**known.record, "windows": "many"}),
        "numbers": (nowhere, {**known.record, "digest": digest}),
        "no digest": (tensors, {name: value for name, value in known.record.items() if name != "digest"}),
        "a rate of many digits": (tensors, {**known.record, "settings": {"window": 8, "fps": 10**400}}),
        "a window for which no memory is": ({**tensors, "frames": torch.tensor(1 << 40)}, known.record),
        "no record": (tensors, [[]]),
    }.items():
        safetensors.torch.save_file(state, tmp_path / name, {KEY: json.dumps(record)})
        with pytest.raises(GenerationError, match="expected an evaluator, but it cannot be read"):
            load_evaluator(tmp_path / name, None)


def test_an_evaluator_never_replaces_a_folder(tmp_path, capsys):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "kept").touch()
    assert main(["train-evaluator", "procedural:1", "--out", str(tmp_path / "folder"), "--force"]) == 2
    assert "found a folder" in capsys.readouterr().err
    assert (tmp_path / "folder" / "kept").exists()


# ---- motion that cannot be compared --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attrs", "says"),
    [
        ({"fps": 15.0}, "--fps 15"),
        ({"hand_model": ["mano-1", "mano-2"]}, "hand model"),
    ],
)
def test_other_rates_and_hands_are_refused(motion, evaluator, tmp_path, capsys, attrs, says):
    long = some(clips(60), 0)
    mine, theirs = written(tmp_path / "a.zarr", long), written(tmp_path / "b.zarr", long, **attrs)
    for pair in ((mine, theirs), (theirs, mine)):
        assert main(["evaluate", *pair, "--evaluator", str(evaluator)]) == 2
        assert says in capsys.readouterr().err


def test_stores_without_motion_are_refused(motion, evaluator, tmp_path, capsys):
    nothing = some(motion, 0)
    empty = written(tmp_path / "none.zarr", nothing)
    as_before_checksums(Store(empty))
    group = zarr.open_group(empty)
    for name in ("valid", "betas", "global_orient", "hand_pose", "transl"):
        array: Any = group[f"mano/{name}"]
        array.resize((0, *array.shape[1:]))
    Store(empty).consolidate()
    short = written(tmp_path / "short.zarr", nothing.window(slice(10)))
    (tmp_path / "folder").mkdir()
    for name, says in ((empty, "expected samples"), (short, "10"), (str(tmp_path / "folder"), "neither")):
        assert main(["evaluate", name, "procedural:1", "--evaluator", str(evaluator)]) == 2
        assert says in capsys.readouterr().err
    good = written(tmp_path / "good.zarr", nothing)
    assert main(["evaluate", good, good, "--evaluator", str(evaluator), "--truth-start", "3"]) == 2
    assert "from frame 3" in capsys.readouterr().err
