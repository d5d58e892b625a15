"""handpipe from Python: the examples of the docstrings run, and what a user can get wrong is said."""

from __future__ import annotations

import doctest
import json
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from stored_motions import clip, fitted, generated

import handpipe as hp
from handpipe.api import session as session_module
from handpipe.api import stages
from handpipe.cli import main
from handpipe.core.storage.store import Store
from handpipe.hand.loading import hand_models

mpl.use("Agg")


@pytest.fixture(scope="module")
def session(computed, tmp_path_factory):
    return Path(shutil.copytree(computed, tmp_path_factory.mktemp("python") / "tiny"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A model after one step, which is enough to sample from."""
    out = tmp_path_factory.mktemp("trained") / "model"
    settings = ["--steps", "1", "--batch", "2", "--window", "24", "--device", "cpu"]
    assert main(["train-diffusion", "procedural:1", "--out", str(out), *settings]) == 0
    return out


EXAMPLES = [
    example
    for module in (session_module, stages)
    for example in doctest.DocTestFinder(exclude_empty=True).find(module)
    if example.examples
]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name.removeprefix("handpipe.api."))
def test_the_examples_of_the_docstrings(example, session, checkpoint, tmp_path):
    example.globs = {"hp": hp, "session": session, "checkpoint": checkpoint, "out": tmp_path / "made.zarr"}
    said: list[str] = []
    result = doctest.DocTestRunner().run(example, out=said.append)
    assert result.failed == 0, "".join(said)


def test_every_public_name_has_an_example():
    shown = {example.name.rpartition(".")[2] for example in EXAMPLES}
    assert {"Session", "open", "run", "triangulate", "fit", "generate"} <= shown
    assert set(hp.__all__) <= set(dir(hp))
    with pytest.raises(AttributeError, match="nothing"):
        _ = hp.nothing  # pyright: ignore[reportAttributeAccessIssue]


def test_importing_handpipe_imports_nothing_else():
    code = "import sys, handpipe; print([m for m in ('numpy', 'torch', 'zarr', 'xarray', 'tyro') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert out.stdout.strip() == "[]"


def test_time_is_that_of_the_instants(session):
    s = hp.open(session)
    for group in (s.mano, s.keypoints, s.group("tracks")):
        assert group.time.dims == ("frame",)
        assert group.time.values == pytest.approx(s.store.read("clock", "instant"))
        assert group.time.attrs["units"] == "second"
    assert "time" not in s.group("cameras").coords


def test_vertices_are_the_models_own_and_nan_where_there_is_no_hand(session, tmp_path):
    root = Path(shutil.copytree(session, tmp_path / "some"))
    store = Store(str(root / "session.zarr"))
    valid = store.read("mano", "valid")
    valid[2, 1] = False
    import zarr

    array = zarr.open_group(store.url, mode="r+", use_consolidated=False)["mano/valid"]
    assert isinstance(array, zarr.Array)
    array[...] = valid
    s = hp.open(root)
    found = s.vertices("right")
    assert np.isnan(found[2]).all()
    pose = [s.mano[name].values[:, 1] for name in ("global_orient", "hand_pose", "transl")]
    expected = hand_models(None)[1].vertices(s.mano.betas.values[1], *pose)
    assert found[[0, 1, 3]] == pytest.approx(expected[[0, 1, 3]])
    assert s.vertices("right", 3) == pytest.approx(found[3])
    assert s.faces["right"].max() == 777


def test_fitting_noisy_keypoints_gives_what_the_pipeline_would(session, rng):
    s = hp.open(session)
    seen = s.cameras.project(s.mano.joints.values) + rng.normal(0, 0.5, (8, 8, 2, 21, 2))
    seen[3] += 80
    points = hp.triangulate(s.cameras, seen, fps=s.fps)
    assert points.attrs["fps"] == s.fps
    assert float(points.inlier.sel(view="c3").mean()) < 0.05
    fitted = hp.fit(points)
    assert set(fitted.data_vars) == set(s.mano.data_vars)
    assert {name: each.dims for name, each in fitted.items()} == {name: each.dims for name, each in s.mano.items()}
    apart = np.linalg.norm(fitted.joints - s.mano.joints, axis=-1)
    assert np.median(apart) < 0.003


def test_generated_motion_has_samples(session, checkpoint, tmp_path):
    made = hp.generate(checkpoint, tmp_path / "made.zarr", count=2, frames=12, settings={"steps": 2})
    assert made.vertices("left").shape == (2, 12, 778, 3)
    assert made.vertices("left", [0, 3]).shape == (2, 2, 778, 3)
    assert made.mano.time.values == pytest.approx(np.arange(12) / made.fps)
    assert made.views == ()
    assert made.verdict is None
    assert set(made.tree.children) >= {"mano", "controls"}


def test_drawings(session):
    s = hp.open(session)
    drawn = {s.plot("residual"): "residual (mm)", s.plot("jitter"): "acceleration (m/s²)", s.plot("coverage"): "views"}
    for axes, unit in drawn.items():
        assert axes.get_ylabel() == unit
        assert [line.get_label() for line in axes.get_lines()] == ["left", "right"]
    axes = next(iter(drawn))
    assert s.plot("residual", axes) is axes


def test_what_is_wrong_is_said(session, tmp_path):
    s = hp.open(session)
    with pytest.raises(hp.HandpipeError, match="nothing was computed yet"):
        hp.open(tmp_path)
    with pytest.raises(hp.HandpipeError, match="group `shapes`"):
        s.group("shapes")
    with pytest.raises(hp.HandpipeError, match="expected left or right"):
        s.vertices("both")  # pyright: ignore[reportArgumentType]
    with pytest.raises(hp.HandpipeError, match="expected residual, jitter or coverage"):
        s.plot("all")  # pyright: ignore[reportArgumentType]
    with pytest.raises(hp.HandpipeError, match="expected \\(view, frame, hand, joint, xy\\)"):
        hp.triangulate(s.cameras, np.zeros((8, 5, 21, 2)))
    with pytest.raises(hp.HandpipeError, match="confidence"):
        hp.triangulate(s.cameras, np.zeros((8, 5, 2, 21, 2)), np.ones((8, 5)))
    with pytest.raises(hp.HandpipeError, match="frame rate"):
        hp.fit(s.keypoints.drop_attrs())
    with pytest.raises(hp.HandpipeError, match="until"):
        hp.run(session, until="never")  # pyright: ignore[reportArgumentType]
    with pytest.raises(hp.HandpipeError, match="unknown key"):
        hp.run(session, settings={"fiting": {}})


# ---- stores as trees -------------------------------------------------------------------------------------------


def run(*argv: object) -> None:
    assert main([str(word) for word in argv]) == 0


@pytest.fixture(scope="module")
def motion(tmp_path_factory):
    """A fitted session of 24 frames."""
    return fitted(tmp_path_factory.mktemp("motion") / "moving", clip(24))


def imported(kind: str, file: str, command: str):
    """What an import makes of the file that an export wrote."""

    def make(motion: Path, tmp_path: Path) -> Path:
        run("export", kind, motion, "--out", tmp_path / "out")
        run(
            "import",
            command,
            tmp_path / "out" / file,
            *([tmp_path / "out" / file] if command == "bvh" else []),
            tmp_path / "in",
        )
        return tmp_path / "in/session.zarr"

    return make


def augmented(motion: Path, tmp_path: Path) -> Path:
    made = generated(tmp_path / "made.zarr", [clip(24)])
    run("augment", made, tmp_path / "data", "--sequences", "1", "--frames", "2", "--views", "2", "--workers", "0")
    return tmp_path / "data/labels.zarr"


STORES = {
    "import mano-motion": imported("mano", "moving.npz", "mano-motion"),
    "import keypoints": imported("csv", "moving.csv", "keypoints"),
    "import bvh": imported("bvh", "moving.bvh", "bvh"),
    "augment": augmented,
}


def arrays_of(tree: xr.DataTree) -> int:
    return sum(len(node.to_dataset(inherit=False).variables) for node in tree.subtree)


@pytest.mark.parametrize("make", STORES.values(), ids=STORES)
def test_stores_of_motion_open_as_a_tree(make, motion, tmp_path):
    store = make(motion, tmp_path)
    check(store)


@pytest.mark.parametrize("name", ["session.zarr", "truth.zarr"])
def test_stores_of_a_run_open_as_a_tree(session, name):
    check(session / name)


def test_generated_motion_opens_as_a_tree(checkpoint, tmp_path):
    run("generate", checkpoint, tmp_path / "made.zarr", "--frames", "12", "--steps", "2")
    check(tmp_path / "made.zarr")


def test_imported_detections_open_as_a_tree(session, tiny, tmp_path):
    s = hp.open(session)
    np.savez(tmp_path / "seen.npz", views=np.array(s.views), points=s.cameras.project(s.mano.joints.values))
    run("import", "keypoints2d", tiny, tmp_path / "seen.npz")
    check(tiny / "session.zarr")


def check(store: Path) -> None:
    """Every array of every group is there, and has names for all of its axes."""
    written = [path for path in store.rglob("zarr.json") if json.loads(path.read_text())["node_type"] == "array"]
    with xr.open_datatree(store, engine="zarr") as tree:
        assert arrays_of(tree) == len(written) > 0
        assert not [dim for node in tree.subtree for dim in node.dataset.dims if str(dim).startswith("dim_")]
        assert set(tree.children) == {path.parent.name for path in store.glob("*/zarr.json")}
    assert set(hp.open(store).tree.children) == {name for name in tree.children if not name.startswith("_")}


def test_the_tree_of_a_store_whose_marks_have_no_names(motion, tmp_path):
    """As handpipe wrote them at first: xarray alone refuses them."""
    root = Path(shutil.copytree(motion, tmp_path / "old"))
    for file in root.rglob("_engine/done/zarr.json"):
        metadata = json.loads(file.read_text())
        del metadata["dimension_names"]
        file.write_text(json.dumps(metadata))
    with pytest.raises(KeyError, match="dimension_names"):
        xr.open_datatree(root / "session.zarr", engine="zarr")
    tree = hp.open(root).tree
    assert tree["mano"].dataset.joints.dims == ("frame", "hand", "joint", "xyz")
    assert tree.attrs["schema_version"] == 1
