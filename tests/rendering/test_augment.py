"""Rendered training data: the labels are what the pictures show."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import zarr
from altered_stores import overwrite_array
from old_stores import as_before_checksums
from toy_stage import Quiet

from handpipe.cli import main
from handpipe.core.cameras import Cameras
from handpipe.core.engine import Engine
from handpipe.core.errors import SessionError
from handpipe.core.hands import HANDS
from handpipe.core.settings import EngineSettings
from handpipe.core.storage.schema import GENERATED, group_spec
from handpipe.core.storage.store import Store
from handpipe.hand.model import HandModel
from handpipe.hand.procedural_motion import two_hand_motion
from handpipe.rendering import augment as module
from handpipe.rendering.augment import augment, picture_path
from handpipe.rendering.settings import AugmentSettings

SMALL = AugmentSettings(sequences=3, frames=5, every=4, views=2, width=96, height=80, occluded=1.0, seed=7)


def motion_store(path: Path, samples: int = 2, frames: int = 30) -> Store:
    """Made-up motion as `handpipe generate` leaves it."""
    models = [HandModel.procedural(side) for side in HANDS]
    attrs = {"fps": 30.0, "hand_model": [model.model_id for model in models]}
    store = Store(str(path))
    store.open()
    store.create(group_spec("mano", GENERATED, {"sample": samples, "frame": frames}, {"sample": 1}, {"n": 1}, attrs))
    for sample in range(samples):
        motion = two_hand_motion(frames, 30.0, sample)
        arrays = {name: getattr(motion, name)[None] for name in ("betas", "global_orient", "hand_pose", "transl")}
        joints = np.zeros((1, frames, 2, 21, 3))  # not read
        store.write("mano", (sample,), {**arrays, "joints": joints, "valid": np.ones((1, frames, 2), bool)})
    store.finish("mano")
    return store


@pytest.fixture(scope="module")
def motion(tmp_path_factory) -> Store:
    return motion_store(tmp_path_factory.mktemp("motion") / "motion.zarr")


def rendered(motion: Store, out: Path, options: AugmentSettings = SMALL, chunk: int = 64, force: bool = False) -> Store:
    with Engine(EngineSettings(workers=0, chunk_frames=chunk), Quiet()) as engine:
        augment(motion, out, options, None, engine, force=force)
    return Store(str(out / "labels.zarr"))


@pytest.fixture(scope="module")
def made(motion, tmp_path_factory) -> tuple[Path, Store]:
    out = tmp_path_factory.mktemp("augmented")
    return out, rendered(motion, out)


def read(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert image is not None, path
    return image


def digest(out: Path) -> dict[str, str]:
    """Hash of every picture, and of every label."""
    files = {
        str(path.relative_to(out)): path.read_bytes()
        for kind in ("images", "masks", "depth")
        for path in (out / kind).rglob("*.*")
    }
    labels = Store(str(out / "labels.zarr"))
    for name in ("points", "visibility", "joints_cam", "box", "seen"):
        files[name] = labels.read("labels", name).tobytes()
    return {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


# ---- labels and pictures -----------------------------------------------------------------------------------------


def test_labels_follow_from_the_hands_and_the_cameras(made):
    """2D from 3D through the lens, 3D from MANO's parameters: nothing is only nearly so."""
    _, labels = made
    valid = labels.read("mano", "valid")
    points, in_camera = labels.read("labels", "points"), labels.read("labels", "joints_cam")
    for sequence in range(SMALL.sequences):
        cameras = Cameras(
            ("v0", "v1"),
            *(labels.read("cameras", name, (sequence,)) for name in ("K", "distortion", "T_cam_world", "size")),
        )
        parameters = [
            labels.read("mano", name, (sequence,)) for name in ("betas", "global_orient", "hand_pose", "transl")
        ]
        for hand, side in enumerate(HANDS):
            if not valid[sequence, 0, hand]:
                assert np.isnan(points[sequence, :, :, hand]).all()
                continue
            betas, orient, pose, transl = parameters
            model = HandModel.procedural(side)
            joints = model.joints(betas[hand], orient[:, hand], pose[:, hand], transl[:, hand])
            np.testing.assert_allclose(labels.read("mano", "joints")[sequence, :, hand], joints, atol=1e-6)
            np.testing.assert_allclose(points[sequence, :, :, hand], cameras.project(joints), atol=0.01)
            world = np.einsum("vji,vfnj->vfni", cameras.T_cam_world[:, :3, :3], in_camera[sequence, :, :, hand])
            np.testing.assert_allclose(world + cameras.centers_m[:, None, None], np.stack([joints] * 2), atol=1e-5)


def test_wrists_stay_where_the_motion_has_them_in_other_shapes(motion, made):
    _, labels = made
    for sequence in range(SMALL.sequences):
        sample, start = (int(labels.read("scenes", name)[sequence]) for name in ("sample", "start"))
        truth = two_hand_motion(30, 30.0, sample)
        frames = slice(start, start + SMALL.motion_frames, SMALL.every)
        for hand in np.flatnonzero(labels.read("mano", "valid")[sequence, 0]):
            arrays = (truth.global_orient[frames, hand], truth.hand_pose[frames, hand], truth.transl[frames, hand])
            wrist = HandModel.procedural(HANDS[hand]).joints(truth.betas[hand], *arrays)[:, 0]
            np.testing.assert_allclose(labels.read("mano", "joints")[sequence, :, hand, 0], wrist, atol=1e-6)
            assert np.abs(labels.read("mano", "betas")[sequence, hand] - truth.betas[hand]).max() > 0.1


def test_masks_depth_boxes_and_visible_joints_agree(made):
    out, labels = made
    valid, seen = labels.read("mano", "valid"), labels.read("labels", "seen")
    points, visibility = labels.read("labels", "points"), labels.read("labels", "visibility")
    depth_of_joints, box = labels.read("labels", "joints_cam")[..., 2], labels.read("labels", "box")
    things, found, before_m = labels.read("scenes", "things"), set(), []
    assert (visibility[np.isfinite(points[..., 0])] == 2).mean() > 0.25
    for sequence, view, frame in np.ndindex(visibility.shape[:3]):
        image, mask, depth = (
            read(picture_path(out, kind, sequence, view, frame)) for kind in ("images", "masks", "depth")
        )
        assert image.shape == (80, 96, 3)
        np.testing.assert_array_equal(mask > 0, depth > 0)
        found |= set(np.unique(mask))
        for hand in range(2):
            here = mask == 1 + hand
            if not valid[sequence, frame, hand]:
                assert not here.any()
                continue
            y, x = np.nonzero(here)
            x0, y0, x1, y1 = box[sequence, view, frame, hand]
            assert x0 <= x.min() <= x.max() <= x1
            assert y0 <= y.min() <= y.max() <= y1
            assert 0 < seen[sequence, view, frame, hand] <= 1
            for joint in np.flatnonzero(visibility[sequence, view, frame, hand] == 2):
                u, v = np.round(points[sequence, view, frame, hand, joint]).astype(int)
                assert here[v, u] or (joint == 0 and mask[v, u] == 4 + hand), (
                    "about the wrist the skin may be the arm's"
                )
                before_m.append(depth_of_joints[sequence, view, frame, hand, joint] - 1e-4 * depth[v, u])
    assert max(before_m) < 0.06
    assert np.percentile(before_m, 5) > -0.03, "joints lie in flesh, but for a pixel at an edge"
    assert found == {0, 1, 2, 3, 4, 5}
    assert (things > 0).all()


def test_hands_are_in_every_picture(made):
    """Cameras are placed for that; the lens may push a joint or two over the edge."""
    _, labels = made
    shown = np.isfinite(labels.read("labels", "points")[..., 0])
    assert np.mean(labels.read("labels", "visibility")[shown] > 0) > 0.97


def test_one_hand_alone_where_asked(motion, tmp_path):
    options = AugmentSettings(sequences=4, frames=1, views=1, width=64, height=64, single_hand=1.0, occluded=0.0)
    labels = rendered(motion, tmp_path, options)
    valid = labels.read("mano", "valid")[:, 0]
    assert (valid.sum(axis=-1) == 1).all()
    assert (labels.read("scenes", "things") == 0).all()
    assert labels.read("labels", "seen")[:, 0, 0][valid].min() > 0.9, "only its own arm is before a hand's end"


# ---- seeds, chunks, interruptions --------------------------------------------------------------------------------


def test_same_bits_in_any_chunks_and_after_an_interruption(motion, made, tmp_path, monkeypatch):
    whole = digest(made[0])
    rendered(motion, tmp_path / "chunks", chunk=2)
    assert digest(tmp_path / "chunks") == whole

    save, count = module.Rendered._save, 0

    def dies(*args):
        nonlocal count
        count += 1
        if count == 17:
            raise KeyboardInterrupt
        save(*args)

    monkeypatch.setattr(module.Rendered, "_save", dies)
    with pytest.raises(KeyboardInterrupt):
        rendered(motion, tmp_path / "killed", chunk=2)
    assert 0 < Store(str(tmp_path / "killed" / "labels.zarr")).done("labels").sum() < 9
    before = count
    rendered(motion, tmp_path / "killed", chunk=2)
    assert digest(tmp_path / "killed") == whole
    assert count - before < 30 - 12, "what was done was computed again"
    before = count
    rendered(motion, tmp_path / "killed", chunk=2)
    assert count == before


def test_other_seeds_give_other_pictures_and_other_settings_leave_none_behind(motion, made, tmp_path):
    other = AugmentSettings(**{**vars_of(SMALL), "seed": 8})
    rendered(motion, tmp_path, other)
    changed = digest(tmp_path)
    assert all(changed[name] != value for name, value in digest(made[0]).items() if name.startswith("images"))
    few = AugmentSettings(**{**vars_of(SMALL), "views": 1, "sequences": 1})
    rendered(motion, tmp_path, few)
    assert len(list((tmp_path / "images").rglob("*.jpg"))) == 5


def vars_of(options: AugmentSettings) -> dict:
    return {name: getattr(options, name) for name in options.__dataclass_fields__}


def test_pictures_that_are_gone_come_back(motion, tmp_path):
    options = AugmentSettings(sequences=1, frames=2, views=1, width=64, height=64)
    rendered(motion, tmp_path, options)
    before = digest(tmp_path)
    picture_path(tmp_path, "depth", 0, 0, 1).unlink()
    rendered(motion, tmp_path, options)
    assert digest(tmp_path) == before


# ---- the command -------------------------------------------------------------------------------------------------


def test_command_renders_a_store_of_motion(motion, tmp_path, capsys):
    flags = ["--sequences", "1", "--frames", "2", "--views", "1", "--width", "64", "--height", "64", "--workers", "0"]
    assert main(["augment", motion.url, str(tmp_path / "out"), *flags, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["images"] == 2
    assert said["computed"]
    assert main(["augment", motion.url, str(tmp_path / "out"), *flags, "--json"]) == 0
    assert not json.loads(capsys.readouterr().out)["computed"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--frames", "31"], "expected 31 consecutive frames"),
        (["--frames", "5", "--every", "20"], "expected 81 consecutive frames"),
        (["--views", "0"], "greater than or equal to 1"),
        (["--occluded", "1.5"], "less than or equal to 1"),
        (["--hand-model", "/nowhere"], "no such file"),
    ],
)
def test_wrong_settings_end_in_a_sentence(motion, tmp_path, capsys, flags, words):
    assert main(["augment", motion.url, str(tmp_path / "out"), *flags, "--workers", "0"]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said


def test_wrong_places_end_in_a_sentence(motion, tmp_path, capsys):
    assert main(["augment", str(tmp_path / "none"), str(tmp_path / "out")]) == 2
    assert "no such folder" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main(["augment", str(tmp_path / "empty"), str(tmp_path / "out")]) == 2
    assert "no config.json" in capsys.readouterr().err
    (tmp_path / "photos" / "images").mkdir(parents=True)
    with pytest.raises(SessionError, match="found other images"):
        rendered(motion, tmp_path / "photos")
    assert not (tmp_path / "photos" / "labels.zarr").exists()


def test_motion_of_another_hand_model_is_refused(tmp_path):
    store = motion_store(tmp_path / "motion.zarr", samples=1)
    store.set_attrs("mano", hand_model=["mano-1", "mano-2"])
    with pytest.raises(SessionError, match=r"expected motion of the hand model in use .* but it is for"):
        rendered(store, tmp_path / "out")


def test_frames_without_both_hands_are_left_out(tmp_path):
    store = motion_store(tmp_path / "motion.zarr", samples=1)
    valid = np.ones((1, 30, 2), bool)
    valid[0, 9, 1] = False
    store._array("mano/valid", write=True)[...] = valid
    options = AugmentSettings(sequences=5, frames=6, views=1, width=32, height=32)
    starts = rendered(store, tmp_path / "out", options).read("scenes", "start")
    assert set(starts) == {0, 12, 18, 24}


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("transl", np.nan, "none"),
        ("hand_pose", np.inf, "none"),
        ("global_orient", 1e30, "none"),
        ("betas", np.nan, "none"),
        ("transl", None, "mano/transl: expected an array of shape"),
        ("valid", None, "mano/global_orient: expected an array of shape"),
    ],
)
def test_hands_without_numbers_are_never_drawn(tmp_path, name, value, says):
    """Also where a store calls them valid; None cuts the array off."""
    store = motion_store(tmp_path / "motion.zarr", samples=1)
    if value is None:
        as_before_checksums(store)
        array = zarr.open_array(tmp_path / "motion.zarr" / "mano" / name)
        array.resize((1, 0, *array.shape[2:]))
    else:
        overwrite_array(tmp_path / "motion.zarr", f"mano/{name}", value)
    with pytest.raises(SessionError, match=says):
        rendered(store, tmp_path / "out")
    assert not (tmp_path / "out").exists()
