"""2D hands from elsewhere: four formats, one meaning; what cannot be this session's hands is refused by name."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from clips import write
from hypothesis import given, settings
from hypothesis import strategies as st

from handpipe.cli import main
from handpipe.core import files
from handpipe.core.cameras_file import write_cameras
from handpipe.core.errors import ConfigError, SessionError
from handpipe.core.hands import HANDS
from handpipe.core.storage.store import Store
from handpipe.exchange.keypoints2d.hands import ENOUGH_HANDS, Hand2d, candidates_of, check_order, check_pixels, hand_of
from handpipe.exchange.keypoints2d.names import place_of
from handpipe.hand.joint_order import OTHER_ORDERS, other_order, side_by_side
from handpipe.hand.model import HandModel
from handpipe.hand.procedural_motion import two_hand_motion
from handpipe.rendering.rig import dome_rig

FPS = 30.0
FRAMES = 12
VIEWS = ("c1", "c2", "c10")
SIZE = (640, 512)


@pytest.fixture(scope="module")
def joints():
    """(frame, hand, joint, 3) metres: two hands that move as people's do."""
    motion = two_hand_motion(FRAMES, FPS, seed=3)
    sides = [
        HandModel.procedural(hand).joints(
            motion.betas[i], motion.global_orient[:, i], motion.hand_pose[:, i], motion.transl[:, i]
        )
        for i, hand in enumerate(HANDS)
    ]
    return np.stack(sides, axis=1)


@pytest.fixture(scope="module")
def rig():
    return dome_rig(8, SIZE)


@pytest.fixture(scope="module")
def seen(rig, joints):
    """(view, frame, hand, joint, 2) pixels."""
    return rig.project(joints)


@pytest.fixture(scope="module")
def _clips(tmp_path_factory):
    root = tmp_path_factory.mktemp("clips") / "filmed"
    (root / "videos").mkdir(parents=True)
    for view in VIEWS:
        write(root / "videos" / f"{view}.mp4", frames=FRAMES, size=SIZE)
    return root


@pytest.fixture
def filmed(_clips, tmp_path):
    """Three views with clips."""
    return Path(shutil.copytree(_clips, tmp_path / "filmed"))


@pytest.fixture
def unfilmed(rig, tmp_path):
    """Eight calibrated views without clips."""
    root = tmp_path / "unfilmed"
    root.mkdir()
    write_cameras(root / "cameras.toml", rig)
    return root


def run(capsys, *argv) -> tuple[int, dict, str]:
    """Exit status, the JSON of standard output (empty without), standard error as one line."""
    status = main([str(arg) for arg in argv])
    out, err = capsys.readouterr()
    return status, json.loads(out) if out else {}, " ".join(err.split())


def take(capsys, *argv) -> tuple[dict, str]:
    status, figures, err = run(capsys, "import", "keypoints2d", *argv, "--json")
    assert status == 0, err
    return figures, err


def wrong(capsys, *argv) -> str:
    """The one sentence of an import that must end with status 2 and without a traceback."""
    status, figures, err = run(capsys, "import", "keypoints2d", *argv, "--json")
    assert status == 2
    assert not figures
    assert "Traceback" not in err
    return err.partition("handpipe: ")[2]


def stored(root: Path, name: str = "points") -> np.ndarray:
    return Store(str(root / "session.zarr")).read("detections", name)


# ---- the formats, as their programs write them -------------------------------------------------------------------


def triplets(points: np.ndarray, confidence: float = 0.8) -> list[float]:
    """x, y, confidence; three zeros for a joint that was not found."""
    rows = np.c_[points, np.full(len(points), confidence)]
    return np.where(np.isnan(rows).any(axis=-1, keepdims=True), 0.0, rows).ravel().tolist()


def openpose(folder: Path, seen: np.ndarray, views=VIEWS, flat: bool = False) -> Path:
    """`--write_json`: one file per frame, in a folder for each view, or all in one with the video's name in front."""
    for view, frames in zip(views, seen, strict=False):
        place = folder if flat else folder / view
        place.mkdir(parents=True, exist_ok=True)
        for i, (left, right) in enumerate(frames):
            person = {
                "pose_keypoints_2d": [1.0] * 75,
                "hand_left_keypoints_2d": triplets(left),
                "hand_right_keypoints_2d": triplets(right),
            }
            path = place / f"{view}_{i:012d}_keypoints.json"
            path.write_text(json.dumps({"version": 1.3, "people": [person]}))
    return folder


def whole_body(hands: np.ndarray) -> dict:
    """One person's 133 keypoints, the body's nowhere in particular."""
    points, scores = np.full((133, 2), 7.0), np.full(133, 0.8)
    points[91:112], points[112:133] = hands
    scores[np.isnan(points).any(axis=-1)] = 0
    return {"keypoints": np.nan_to_num(points).tolist(), "keypoint_scores": scores.tolist(), "bbox_score": 0.9}


def mmpose(folder: Path, seen: np.ndarray, demo: bool) -> Path:
    """A video's predictions: of `topdown_demo_with_mmdet.py` (frames from 1), or of the inferencer (from 0)."""
    folder.mkdir(parents=True, exist_ok=True)
    for view, frames in zip(VIEWS, seen, strict=False):
        info = [{"frame_id": i + demo, "instances": [whole_body(hands)]} for i, hands in enumerate(frames)]
        name = f"results_{view}.json" if demo else f"{view}.json"
        (folder / name).write_text(json.dumps({"meta_info": {}, "instance_info": info} if demo else info))
    return folder


def coco(path: Path, seen: np.ndarray, name: str = "{view}/{frame:06d}.jpg") -> Path:
    """COCO-WholeBody annotations of images."""
    images, annotations = [], []
    for view, frames in zip(VIEWS, seen, strict=False):
        for i, (left, right) in enumerate(frames):
            key = len(images) + 100
            file_name = name.format(view=view, frame=i)
            images.append({"id": key, "file_name": file_name, "width": SIZE[0], "height": SIZE[1]})
            hands = {"lefthand_kpts": triplets(left, 2), "righthand_kpts": triplets(right, 2)}
            valid = {"lefthand_valid": True, "righthand_valid": True}
            annotations.append({"id": key, "image_id": key, "keypoints": [0] * 51, **hands, **valid})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    return path


def one_npz(path: Path, seen: np.ndarray, **more) -> Path:
    np.savez(path, views=np.array(VIEWS[: len(seen)]), points=seen, **more)
    return path


def npz_per_view(folder: Path, seen: np.ndarray, **more) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i, view in enumerate(VIEWS):
        np.savez(folder / f"{view}.npz", points=seen[i], **{key: value[i] for key, value in more.items()})
    return folder


LABELS = {"score": np.full((3, FRAMES, 2), 0.8), "right": np.tile([0.0, 1.0], (3, FRAMES, 1))}
LABELS["score"][1, 4, 0] *= 19 / 21  # where a test takes two joints away

WRITERS = {
    "OpenPose, a folder for each view": lambda where, seen: openpose(where / "a", seen),
    "OpenPose, all in one folder": lambda where, seen: openpose(where / "a", seen, flat=True),
    "MMPose's demo": lambda where, seen: mmpose(where / "a", seen, demo=True),
    "MMPose's inferencer": lambda where, seen: mmpose(where / "a", seen, demo=False),
    "COCO-WholeBody": lambda where, seen: coco(where / "a.json", seen),
    "npz for all": lambda where, seen: one_npz(where / "a.npz", seen, **LABELS),
    "npz for each": lambda where, seen: npz_per_view(where / "a", seen, **LABELS),
}


@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
def test_every_format_means_the_same(writer, seen, filmed, tmp_path, capsys):
    """Three views of two hands: pixels to the bit of float32, missing joints NaN, left and right as they are called."""
    here = seen[:3].copy()
    here[1, 4, 0, 7:9] = np.nan  # two joints
    here[2, 5, 1] = np.nan  # a hand
    figures, err = take(capsys, filmed, writer(tmp_path, here))
    assert figures["computed"] == ["detections"]
    assert figures["hands_found"] == pytest.approx([0, 1 / 36, 35 / 36])
    assert f"next: `handpipe run {filmed}`" in err
    points, score, right = stored(filmed), stored(filmed, "score"), stored(filmed, "right")
    assert points.shape == (3, FRAMES, 4, 21, 2)
    # Best first: the hand with missing joints comes second; a lone one first.
    expected = here.astype(np.float32)
    expected[1, 4] = expected[1, 4, ::-1]
    np.testing.assert_array_equal(points[:, :, :2], expected)
    assert np.isnan(points[:, :, 2:]).all()
    labels = np.tile(np.array([0, 1], np.float32), (3, FRAMES, 1))
    labels[1, 4] = [1, 0]
    labels[2, 5, 1] = np.nan
    np.testing.assert_array_equal(right[:, :, :2], labels)
    np.testing.assert_array_equal(np.isnan(score[:, :, :2]), np.isnan(labels))


def test_imported_hands_become_the_truth_without_any_clip(rig, joints, seen, unfilmed, tmp_path, capsys):
    """cameras.toml and OpenPose's files, and nothing else: triangulated to the joints they were projected from."""
    names = rig.names
    files = openpose(tmp_path / "openpose", seen, names)
    figures, _ = take(capsys, unfilmed, files, "--fps", FPS)
    assert (figures["views"], figures["frames"]) == (8, FRAMES)
    flags = ["--workers", "0", "--json"]
    status, done, err = run(capsys, "run", unfilmed, *flags)
    assert status == 0, err
    assert "detections" not in done["computed"]
    assert done["frames_with_hand"] == {"left": 1.0, "right": 1.0}
    points = Store(str(unfilmed / "session.zarr")).read("keypoints", "points")
    assert np.abs(points - joints).max() < 1e-4, "float32 pixels are good for a hundredth of a millimetre"
    assert run(capsys, "run", unfilmed, *flags)[1]["computed"] == []
    status, done, err = run(capsys, "triangulate", unfilmed, *flags, "--prune", "5")
    assert status == 0, err
    assert done["computed"] == ["timeline", "detections", "clock", "groups", "tracks", "keypoints", "quality"]
    pruned = Store(str(unfilmed / "session-prune-5.zarr"))
    np.testing.assert_array_equal(pruned.read("detections", "points"), stored(unfilmed)[:, :5])
    status, _, err = run(capsys, "detect", unfilmed, *flags, "--force")
    assert status == 2
    assert "expected clips to detect hands in" in err


def test_run_leaves_imported_detections_alone_unless_forced(seen, filmed, tmp_path, capsys):
    take(capsys, filmed, openpose(tmp_path / "a", seen[:3]))
    before = stored(filmed)
    detect = ["detect", filmed, "--workers", "0", "--json"]
    assert run(capsys, *detect)[1]["computed"] == ["timeline"]
    np.testing.assert_array_equal(stored(filmed), before)
    assert run(capsys, *detect, "--detection.candidates", "3", "--detection.detector", "none")[1]["computed"] == []
    status, figures, err = run(capsys, *detect, "--force")
    assert status == 0
    assert figures["computed"] == ["detections"]
    assert figures["hands_found"][0] == 1.0, "the clips are grey"
    assert run(capsys, *detect)[1]["computed"] == []
    _, err = take(capsys, filmed, tmp_path / "a")
    assert "what the detector had found is replaced" in err
    np.testing.assert_array_equal(stored(filmed), before)


def test_the_same_files_are_imported_once(seen, filmed, tmp_path, capsys):
    files = one_npz(tmp_path / "a.npz", seen[:3])
    assert take(capsys, filmed, files)[0]["computed"] == ["detections"]
    assert take(capsys, filmed, files)[0]["computed"] == []
    assert take(capsys, filmed, files, "--origin", "corner")[0]["computed"] == ["detections"]
    one_npz(tmp_path / "a.npz", seen[:3] + 1)
    assert take(capsys, filmed, files)[0]["computed"] == ["detections"]


def test_a_changed_session_asks_for_another_import(seen, filmed, tmp_path, capsys):
    take(capsys, filmed, one_npz(tmp_path / "a.npz", seen[:3]))
    (filmed / "videos" / "c2.mp4").unlink()
    status, _, err = run(capsys, "detect", filmed, "--workers", "0")
    assert status == 2
    assert "its clips or timestamps have changed since the import" in err


def test_half_an_import_is_not_taken_for_a_whole_one(seen, filmed, tmp_path, capsys):
    files = one_npz(tmp_path / "a.npz", seen[:3])
    take(capsys, filmed, files)
    Store(str(filmed / "session.zarr")).set_attrs("detections", complete=False)
    status, _, err = run(capsys, "detect", filmed, "--workers", "0")
    assert status == 2
    assert "the import was interrupted. Import them again" in err
    assert take(capsys, filmed, files)[0]["computed"] == ["detections"]


def test_frames_are_the_clips_and_instants_the_sessions(seen, filmed, tmp_path, capsys):
    """timestamps.csv: instant 0 has no frame of c2, whose first frame belongs to instant 1; and so on."""
    rows = [f"{i},{view},{i - (view == 'c2')},{i / FPS}" for i in range(FRAMES) for view in VIEWS if i or view != "c2"]
    (filmed / "timestamps.csv").write_text("sync_index,cam_id,frame_index,frame_time\n" + "\n".join(rows) + "\n")
    take(capsys, filmed, one_npz(tmp_path / "a.npz", seen[:3]))
    points = stored(filmed)[:, :, :2]
    expected = seen[:3].astype(np.float32)
    np.testing.assert_array_equal(points[[0, 2]], expected[[0, 2]])
    assert np.isnan(points[1, 0]).all()
    np.testing.assert_array_equal(points[1, 1:], expected[1, :-1])


def test_views_without_files_stay_empty(seen, filmed, tmp_path, capsys):
    figures, err = take(capsys, filmed, one_npz(tmp_path / "a.npz", seen[:2]))
    assert figures["views_without"] == ["c10"]
    assert "warning: no file for c10" in err
    assert np.isnan(stored(filmed)[2]).all()


def test_the_best_candidates_are_kept(seen, filmed, tmp_path, capsys):
    score = np.tile([0.2, 0.9, 0.5], (3, FRAMES, 1))
    three = np.concatenate([seen[:3], seen[:3, :, :1] + 5], axis=2)
    files = one_npz(tmp_path / "a.npz", three, score=score)
    figures, err = take(capsys, filmed, files, "--candidates", "2")
    assert figures["dropped"] == 3 * FRAMES
    assert "36 hands left out" in err
    np.testing.assert_array_equal(stored(filmed), three[:, :, [1, 2]].astype(np.float32))
    assert (stored(filmed, "right") == 0.5).all(), "no label is no vote"


def test_corner_coordinates_and_low_confidence(seen, filmed, tmp_path, capsys):
    files = coco(tmp_path / "a.json", seen[:3] + 0.5)
    take(capsys, filmed, files, "--origin", "corner")
    np.testing.assert_allclose(stored(filmed)[:, :, :2], seen[:3], atol=1e-4)
    status, _, err = run(
        capsys, "import", "keypoints2d", filmed, openpose(tmp_path / "o", seen[:3]), "--min-confidence", "0.8"
    )
    assert status == 2
    assert "there is none in any" in err


def test_one_hand_models_of_21_joints(seen, filmed, tmp_path, capsys):
    """MMPose's hand models say nothing of left and right; images one by one, named by view and number."""
    for view, frames in zip(VIEWS, seen, strict=False):
        for i, hands in enumerate(frames):
            one = [{"keypoints": hand.tolist(), "keypoint_scores": [0.7] * 21} for hand in hands]
            (tmp_path / f"{view}_{i + 1:04d}.json").write_text(json.dumps({"instance_info": one}))
    files = sorted(tmp_path.glob("*.json"))
    assert "expected frames 0 to 11 of c10, like its clip's, but found frame 12" in wrong(capsys, filmed, *files)
    take(capsys, filmed, *files, "--first-frame", "1")
    np.testing.assert_array_equal(stored(filmed)[:, :, :2], seen[:3].astype(np.float32))
    assert (stored(filmed, "right")[:, :, :2] == 0.5).all()


def test_a_pattern_says_what_names_mean(seen, filmed, tmp_path, capsys):
    files = coco(tmp_path / "a.json", seen[:3], "day3/shot{frame}_of_{view}_v2.png")
    assert "expected one of the session's views (c1, c2, c10)" in wrong(capsys, filmed, files)
    take(capsys, filmed, files, "--pattern", "shot{frame}_of_{view}_*.png")
    np.testing.assert_array_equal(stored(filmed)[:, :, :2], seen[:3].astype(np.float32))


# ---- names -------------------------------------------------------------------------------------------------------

NAMES = {
    "c1/000000000012_keypoints.json": ("c1", 12),
    "out/c10_000000000003_keypoints.json": ("c10", 3),
    "c1/c2_0007.json": ("c1", 7),
    "c10/take2/img.0041.png": ("c10", 41),
    "results_c1-5.json": ("c1", 5),
    "left.cam_0002.jpg": ("left.cam", 2),
}


@pytest.mark.parametrize(("name", "place"), NAMES.items())
def test_names_one_can_read(name, place):
    assert place_of(("c1", "c10", "c2", "left.cam"), None)("here", name, True) == place


@given(st.sampled_from(["c1", "c10", "cam_1", "cam_12"]), st.integers(0, 10**6), st.sampled_from(["", "a/b/"]))
def test_a_view_is_never_taken_for_one_whose_name_it_begins_with(view, frame, before):
    views = ("c1", "c10", "cam_1", "cam_12")
    guess = place_of(views, None)
    assert guess("here", f"{before}{view}_{frame:06d}.png", True) == (view, frame)
    assert guess("here", f"{before}{view}/{frame}.png", True) == (view, frame)
    assert guess("here", f"{before}{view}.json", False) == (view, None)
    by_pattern = place_of(views, "{view}-{frame}.png")
    assert by_pattern("here", f"{before}{view}-{frame:03d}.png", True) == (view, frame)


def test_names_that_say_nothing():
    with pytest.raises(SessionError, match=r"expected the frame's number in the name, but found 'c1\.json'"):
        place_of(("c1",), None)("c1.json", "c1.json", True)
    with pytest.raises(SessionError, match=r"expected a name like '\{view\}_\{frame\}.png', but found 'c1.png'"):
        place_of(("c1",), "{view}_{frame}.png")("a.json", "c1.png", True)
    with pytest.raises(ConfigError, match=r"expected \{view\} once"):
        place_of(("c1",), "{frame}.png")


# ---- what the user got wrong -------------------------------------------------------------------------------------


def save(path: Path, **arrays) -> Path:
    np.savez(path, **arrays)
    return path


WRONG_JSON = {
    "cut off": ('{"people": [', "expected JSON, but it cannot be read"),
    "deep": ("[" * 100000, "expected JSON, but it cannot be read"),
    "another thing": ('{"shapes": []}', "OpenPose's JSON: `people`"),
    "a number": ("3", "but found int"),
    "one joint": ('{"people": [{"hand_left_keypoints_2d": [1, 2, 3]}]}', "[0].hand_left_keypoints_2d: expected 21"),
    "words": ('{"people": [{"hand_left_keypoints_2d": ["a", 2, 3]}]}', "expected numbers"),
    "people is one": ('{"people": {"a": 1}}', "people: expected a list of objects"),
    "17 joints": ('{"instance_info": [{"keypoints": [[1, 2], [3, 4]]}]}', "keypoints of shape (2, 2)"),
    "no frame number": ('[{"instances": []}]', "frame_id: expected a whole number, but found None"),
    "no such image": ('{"images": [], "annotations": [{"image_id": 3}]}', "expected the id of one of the images"),
    "nobody anywhere": ('{"people": []}', "there is none in any"),
    "no image": ('{"images": [], "annotations": []}', "expected files with at least one frame"),
}


@pytest.mark.parametrize(("text", "sentence"), WRONG_JSON.values(), ids=WRONG_JSON)
def test_wrong_json(text, sentence, filmed, tmp_path, capsys):
    path = tmp_path / "c1_0000.json"
    path.write_text(text)
    said = wrong(capsys, filmed, path)
    assert "c1_0000.json" in said
    assert sentence in said
    assert not (filmed / "session.zarr").exists(), "nothing is begun"


def test_wrong_arrays(seen, filmed, tmp_path, capsys):
    path = tmp_path / "c1.npz"
    for arrays, sentence in (
        ({"points": seen[0, :, :, :20]}, "expected `points` of shape (frame, candidate, 21 joints, 2)"),
        ({"points": seen}, "with an array `views` of names"),
        ({"points": seen[:3], "views": np.array(["c1", "c2"])}, "shape (2 views, frame, candidate, 21 joints, 2)"),
        ({"points": seen[0], "right": np.ones(3)}, "expected `right` of shape (12, 2)"),
        ({"points": seen[0], "score": np.full((12, 2), 80.0)}, "expected `score` between 0 and 1, but found 80"),
        ({"keypoints": seen[0]}, "but found keypoints. Rename the arrays"),
        ({"points": seen[0].astype(object)}, "expected an .npz with plain arrays"),
        ({"points": np.full_like(seen[0], np.inf)}, "infinity. Write NaN"),
        ({"points": seen[:1], "views": np.array(["c7"])}, "expected one of the session's views (c1, c2, c10)"),
        ({"points": np.tile(seen[0], (2, 1, 1, 1))}, "frames 0 to 11 of c1, like its clip's, but found frame 12"),
        ({"points": np.nan_to_num(seen[0] * np.nan)}, "are normalised"),
        ({"points": np.where(np.arange(21)[:, None] < 2, 0.0, seen[0])}, "joints at exactly (0, 0)"),
    ):
        assert sentence in wrong(capsys, filmed, save(path, **arrays)), sentence
    path.write_bytes(b"PK\x03\x04 no")
    assert "expected an .npz with plain arrays" in wrong(capsys, filmed, path)


def test_pixels_of_something_else(seen, filmed, tmp_path, capsys):
    unit = seen[:3] / SIZE
    assert "they are normalised to 0..1. Write pixels" in wrong(capsys, filmed, one_npz(tmp_path / "a.npz", unit))
    assert "normalised to -1..1" in wrong(capsys, filmed, one_npz(tmp_path / "a.npz", 2 * unit - 1))
    larger = wrong(capsys, filmed, one_npz(tmp_path / "a.npz", 4 * seen[:3]))
    assert "(view c1): expected pixels of an image of 640x512" in larger
    assert "images of another size" in larger
    text = coco(tmp_path / "b.json", seen[:3]).read_text().replace('"width": 640', '"width": 1920')
    (tmp_path / "b.json").write_text(text)
    assert "expected 640x512 pixels like c1's images, but the file says 1920x512" in wrong(
        capsys, filmed, tmp_path / "b.json"
    )


def test_paths_that_are_nothing(filmed, tmp_path, capsys, monkeypatch):
    assert "expected a .json or .npz file" in wrong(capsys, filmed, tmp_path / "none.json")
    assert "another kind of file" in wrong(capsys, filmed, filmed / "videos" / "c1.mp4")
    assert "expected .json or .npz files in it, but found none" in wrong(capsys, filmed, filmed / "videos")
    huge = tmp_path / "c1.json"
    huge.touch()
    os.truncate(huge, 3 * 2**30)
    assert "of at most 1024 MiB, but it has 3072" in wrong(capsys, filmed, huge)
    monkeypatch.setattr(files, "MAX_NPZ_BYTES", 5000)
    np.savez_compressed(tmp_path / "c1.npz", points=np.zeros((12, 2, 21, 2)))
    assert "but it unpacks to" in wrong(capsys, filmed, tmp_path / "c1.npz")


def test_a_frame_given_twice(seen, filmed, tmp_path, capsys):
    files = openpose(tmp_path / "a", seen[:3]), one_npz(tmp_path / "b.npz", seen[:3])
    assert "expected every frame once, but frame 0 of c1 is also in" in wrong(capsys, filmed, *files)


def test_a_session_without_clips_needs_its_rate_and_numbers_that_count(seen, unfilmed, tmp_path, capsys):
    files = openpose(tmp_path / "a", seen, [f"c{i}" for i in range(8)])
    assert "but found no frame rate" in wrong(capsys, unfilmed, files)
    (files / "c0" / "c0_000000000000_keypoints.json").rename(files / "c0" / "c0_20261123_keypoints.json")
    said = wrong(capsys, unfilmed, files, "--fps", "30")
    assert "expected numbers that count frames, but 12 frames reach up to 20261123" in said
    (unfilmed / "cameras.toml").unlink()
    assert "expected clips in videos/, or without clips a cameras.toml and --fps" in wrong(capsys, unfilmed, files)


def test_joints_in_another_order_are_named(seen, filmed, tmp_path, capsys):
    for name, order in OTHER_ORDERS.items():
        said = wrong(capsys, filmed, one_npz(tmp_path / "a.npz", seen[:3][..., np.argsort(order), :]))
        assert f"by the length of the bones it is another: {name}. Reorder them" in said


def test_exchanged_fingers_are_told_by_their_knuckles(seen, filmed, tmp_path, capsys):
    order = np.arange(21)
    order[5:9], order[9:13] = np.arange(9, 13), np.arange(5, 9)
    said = wrong(capsys, filmed, one_npz(tmp_path / "a.npz", seen[:3][..., order, :]))
    assert "fingers exchanged, by the place of their knuckles" in said


# ---- arrays ------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.2, 5), st.integers(-300, 300))
def test_the_order_is_judged_by_shape_alone(seen, seed, scale, shift):
    """Of any hands, wherever and however large they are: ours passes, and each other order is found."""
    rng = np.random.default_rng(seed)
    hands = seen.reshape(-1, 21, 2)
    hands = scale * hands[rng.choice(len(hands), 60, replace=False)] + shift
    assert other_order(hands) is None
    assert side_by_side(hands) > 0.6
    for name, order in OTHER_ORDERS.items():
        assert other_order(hands[:, np.argsort(order)]) == name


def test_few_hands_are_not_judged(seen):
    hands = seen.reshape(-1, 21, 2)[:, np.argsort(next(iter(OTHER_ORDERS.values())))]
    check_order(hands[: ENOUGH_HANDS - 1], "here")
    with pytest.raises(SessionError, match="in the order"):
        check_order(hands[:ENOUGH_HANDS], "here")


def test_confidence_zero_is_missing():
    points, confidence = np.arange(42.0).reshape(21, 2), np.full(21, 0.5)
    confidence[[3, 4]] = 0, np.nan
    hand = hand_of(points, confidence, 1.0, 0.0)
    assert hand is not None
    assert np.isnan(hand.points_px).all(axis=-1).tolist() == [i in (3, 4) for i in range(21)]
    assert hand.score == pytest.approx(0.5 * 19 / 21)
    assert hand_of(points, confidence, 1.0, 0.5) is None


def test_equal_scores_keep_the_files_order():
    hands = [Hand2d(np.full((21, 2), float(i)), score, 0.5) for i, score in enumerate((0.5, 0.9, 0.5))]
    found = candidates_of({1: hands}, frames=3, limit=4)
    assert found.points_px[1, :3, 0, 0].tolist() == [1, 0, 2]
    assert np.isnan(found.score[[0, 2]]).all()
    assert found.dropped == 0


def test_a_few_joints_may_lie_anywhere(seen):
    hands = seen[0].reshape(-1, 21, 2).copy()
    hands[0, :3] = 1e5
    check_pixels(hands, SIZE, "here")
