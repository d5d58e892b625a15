"""InterHand2.6M's annotation files: the published ones in and out again, our own there and back, and broken ones."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from exported import fit_by_truth, fitted_session
from paths import SHARED_DATA
from pycocotools.coco import COCO
from stored_motions import clip, fitted, generated

from handpipe.capture.session import read_session
from handpipe.capture.settings import CaptureSettings
from handpipe.capture.video import read_frames
from handpipe.cli import main
from handpipe.core.cameras import Cameras
from handpipe.core.cameras_file import read_cameras as read_cameras_toml
from handpipe.core.hands import HANDS, JOINTS
from handpipe.core.storage.schema import read_cameras
from handpipe.core.storage.store import Store
from handpipe.exchange.datasets.interhand26m.arrays import (
    ORDER,
    Pinhole,
    box_of,
    camera_in,
    camera_out,
    joints_in,
    joints_out,
    mano_in,
    mano_out,
    skeleton,
)
from handpipe.exchange.importing import write_models
from handpipe.hand.procedural import procedural_hand

KINDS = ("data", "camera", "joint_3d")


@pytest.fixture(scope="module")
def fixture():
    folder = SHARED_DATA / "interhand26m_mmpose"
    if not folder.is_dir():
        pytest.skip(f"InterHand2.6M's four frames are not at {folder}")
    return folder


def load(folder: Path, kind: str):
    (path,) = folder.rglob(f"*_{kind}.json")
    return json.loads(path.read_text())


def run(capsys, *argv) -> tuple[int, str]:
    status = main([str(arg) for arg in argv])
    return status, " ".join(capsys.readouterr().err.split())


# ---- pure --------------------------------------------------------------------------------------------------------


def test_the_order_of_the_joints_is_the_datasets():
    names = [JOINTS[j] for j in ORDER]
    assert names[:5] == ["thumb_tip", "thumb_ip", "thumb_mcp", "thumb_cmc", "index_tip"]
    assert names[-2:] == ["pinky_mcp", "wrist"]
    points = np.zeros((2, 21, 3))
    points[1, 4], points[0, 0] = [0.001, 0.002, 0.003], [0.5, 0, 0]  # the right thumb's tip, the left wrist
    world, valid = joints_out(points)
    np.testing.assert_allclose(world[0], [1, 2, 3])
    np.testing.assert_allclose(world[41], [500, 0, 0])
    assert valid.all()


def test_the_skeleton_names_every_joint_and_its_parent():
    lines = skeleton().splitlines()[1:]
    assert len(lines) == 42
    assert lines[0] == "r_thumb4 0 1"
    assert lines[3] == "r_thumb1 3 20"
    assert lines[20] == "r_wrist 20 -1"
    assert lines[21] == "l_thumb4 21 22"
    assert lines[40] == "l_pinky1 40 41"


def test_the_pose_counts_from_the_mean_pose(rng):
    mean, orient, pose = rng.normal(size=45), rng.normal(size=3), rng.normal(size=45)
    found = mano_out(np.zeros(10), orient, pose, np.zeros(3), mean)
    np.testing.assert_allclose(found["pose"][3:], pose - mean)
    back = mano_in(np.array(found["pose"]), mean)
    np.testing.assert_allclose(np.concatenate(back), [*orient, *pose])


def test_joints_come_back_and_missing_ones_stay_missing(rng):
    points = rng.normal(0, 0.3, (5, 2, 21, 3))
    points[2, 0, 7] = np.nan
    world, valid = joints_out(points)
    assert valid.sum() == 5 * 42 - 1
    np.testing.assert_allclose(world[~valid], 1.0)
    np.testing.assert_allclose(joints_in(world, valid), points, atol=1e-7)


def test_a_camera_one_can_follow_in_the_head():
    """It stands one metre behind the origin and looks along +x: its own x is the world's -y."""
    T = np.array([[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 1], [0, 0, 0, 1.0]])
    K = np.array([[500, 0, 320], [0, 510, 240], [0, 0, 1.0]])
    found = camera_out(Pinhole(K, T))
    np.testing.assert_allclose(found["campos"], [-1000, 0, 0])
    assert found["focal"] == [500, 510]
    campos, camrot, focal, princpt = (np.array(found[name]) for name in ("campos", "camrot", "focal", "princpt"))
    back = camera_in(campos, camrot, focal, princpt)
    np.testing.assert_allclose(back.T_cam_world, T)
    np.testing.assert_allclose(back.K, K)


def test_a_box_is_a_fifth_larger_than_its_points():
    points = np.array([[10.0, 20], [20, 40], [np.nan, np.nan]])
    np.testing.assert_allclose(box_of(points), [9, 18, 12, 24])
    assert np.isnan(box_of(np.full((3, 2), np.nan))).all()


# ---- the published files -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def imported(fixture, tmp_path_factory):
    root = tmp_path_factory.mktemp("interhand") / "sessions"
    assert main(["import", "interhand26m", str(fixture), str(root)]) == 0
    return root


def test_the_published_frames_go_back_to_the_same_values(fixture, imported, tmp_path, capsys):
    sessions = sorted(path.parent for path in imported.rglob("session.zarr"))
    assert len(sessions) == 4
    status, said = run(capsys, "export", "interhand26m", *sessions, "--out", tmp_path / "out")
    assert status == 0
    assert "4 images" in said  # it says that they are not there
    theirs, ours = ({kind: load(folder, kind) for kind in KINDS} for folder in (fixture, tmp_path / "out"))
    for capture, frames in theirs["joint_3d"].items():
        assert frames.keys() == ours["joint_3d"][capture].keys()
        for frame, record in frames.items():
            back = ours["joint_3d"][capture][frame]
            assert back["joint_valid"] == record["joint_valid"]
            assert back["hand_type"] == record["hand_type"]
            valid = np.array(record["joint_valid"])[:, 0]
            np.testing.assert_allclose(
                np.array(back["world_coord"])[valid], np.array(record["world_coord"])[valid], atol=2e-4
            )
        for kind, cameras in theirs["camera"][capture].items():
            for name, values in cameras.items():
                np.testing.assert_allclose(ours["camera"][capture][kind][name], values, rtol=1e-6, atol=1e-6)
    images = {image["id"]: image for image in ours["data"]["images"]}
    by_frame = {images[each["image_id"]]["frame_idx"]: each for each in ours["data"]["annotations"]}
    for image, annotation in zip(theirs["data"]["images"], theirs["data"]["annotations"], strict=True):
        back = by_frame[image["frame_idx"]]
        kept = ("width", "height", "capture", "subject", "seq_name", "camera", "frame_idx")
        assert {key: images[back["image_id"]][key] for key in kept} == {key: image[key] for key in kept}
        assert images[back["image_id"]]["file_name"].endswith(image["file_name"])
        assert np.ravel(back["joint_valid"]).tolist() == np.ravel(annotation["joint_valid"]).tolist()
        np.testing.assert_allclose(back["bbox"], annotation["bbox"], atol=2e-3)


def skin(image_bgr: np.ndarray) -> np.ndarray:
    """(height, width) bool: not dark, and in colour redder than blue."""
    blue, _, red = np.moveaxis(image_bgr.astype(int), -1, 0)
    coloured = (image_bgr[..., 0] != image_bgr[..., 2]).any()
    return (red > 40) & ((red > blue + 8) | ~coloured)


def test_the_joints_lie_on_the_hands_in_the_images(fixture, imported):
    """Nearly every joint of every frame, through our own cameras; moved by a hand's width, most do not."""
    data, moved = load(fixture, "data"), []
    for image in data["images"]:
        store = Store(str(imported / f"Capture{image['capture']}" / image["seq_name"] / "session.zarr"))
        cameras = read_cameras(store)
        assert isinstance(cameras, Cameras)
        points = cameras.project(store.read("keypoints", "points")[0].astype(float))[0].reshape(-1, 2)
        points = points[np.isfinite(points).all(axis=-1)]
        assert len(points) in (21, 42)
        shown = cv2.imread(str(fixture / image["file_name"]))
        assert shown is not None
        hands = cv2.dilate(skin(shown).astype(np.uint8), np.ones((5, 5)))

        def share(points_px, hands=hands):
            at = np.clip(np.round(points_px).astype(int), 0, np.array(hands.shape[::-1]) - 1)
            return hands[at[:, 1], at[:, 0]].mean()

        assert share(points) > 0.9, image["file_name"]
        moved.append(share(points - [0, 110]))
    assert np.mean(moved) < 0.5


def test_an_import_is_made_once(fixture, tmp_path, capsys):
    root = tmp_path / "sessions"
    assert "4 imported" in run(capsys, "import", "interhand26m", fixture, root)[1]
    assert "4 up to date" in run(capsys, "import", "interhand26m", fixture, root)[1]
    assert "1 sequences" in run(capsys, "import", "interhand26m", fixture, root, "--only", "*pray")[1]


# ---- our own, there and back -------------------------------------------------------------------------------------


def test_a_session_comes_back_to_a_hundredth_of_a_millimetre(tmp_path, capsys):
    session = fitted_session(tmp_path / "session", frames=12)
    status, said = run(capsys, "export", "interhand26m", session, "--out", tmp_path / "out")
    assert status == 0, said
    assert "rectified" in said
    status, said = run(capsys, "import", "interhand26m", tmp_path / "out", tmp_path / "back")
    assert status == 0, said
    before, after = (
        Store(str(session / "session.zarr")),
        Store(str(tmp_path / "back" / "Capture0" / "session" / "session.zarr")),
    )
    joints = before.read("mano", "joints")
    joints[~before.read("mano", "valid")] = np.nan
    np.testing.assert_allclose(after.read("keypoints", "points"), joints, atol=1e-6)  # metres: a thousandth of a mm
    np.testing.assert_array_equal(after.read("mano", "valid"), before.read("mano", "valid"))
    valid = before.read("mano", "valid")
    for name in ("global_orient", "hand_pose", "transl"):
        np.testing.assert_array_equal(after.read("mano", name)[valid], before.read("mano", name)[valid])
    np.testing.assert_allclose(after.read("mano", "joints")[valid], joints[valid], atol=1e-6)
    np.testing.assert_allclose(read_cameras(after).T_cam_world, read_cameras(before).T_cam_world, atol=1e-9)


def test_motion_without_cameras_is_joints_and_mano(tmp_path, capsys):
    generated(tmp_path / "made.zarr", [clip(frames=5, seed=seed) for seed in (1, 2)])
    status, said = run(capsys, "export", "interhand26m", tmp_path / "made.zarr", "--out", tmp_path / "out")
    assert status == 0, said
    assert "where there are no cameras" in said
    assert load(tmp_path / "out", "data") == {"images": [], "annotations": []}
    assert run(capsys, "import", "interhand26m", tmp_path / "out", tmp_path / "back")[0] == 0
    joints = Store(str(tmp_path / "made.zarr")).read("mano", "joints")
    for number in (0, 1):
        store = Store(str(tmp_path / "back" / f"Capture{number}" / f"made-{number:04d}" / "session.zarr"))
        np.testing.assert_allclose(store.read("keypoints", "points"), joints[number], atol=1e-6)
        np.testing.assert_allclose(store.read("mano", "joints"), joints[number], atol=1e-6)
        assert not store.complete("cameras")


def test_keypoints_that_nothing_was_fitted_to_are_enough(tmp_path, capsys):
    session = fitted(tmp_path / "session", clip(frames=5))
    store = Store(str(session / "session.zarr"))
    store.remove("mano")
    assert run(capsys, "export", "interhand26m", session, "--out", tmp_path / "out")[0] == 0
    assert run(capsys, "import", "interhand26m", tmp_path / "out", tmp_path / "back")[0] == 0
    back = Store(str(tmp_path / "back" / "Capture0" / "session" / "session.zarr"))
    np.testing.assert_allclose(back.read("keypoints", "points"), store.read("keypoints", "points"), atol=1e-6)


def test_mano_of_another_model_is_told_by_its_joints(tmp_path, capsys):
    """Ten centimetres off: without a named model it is left out, with one it is an error."""
    session = fitted_session(tmp_path / "session", frames=4)
    assert run(capsys, "export", "interhand26m", session, "--out", tmp_path / "out")[0] == 0
    (path,) = tmp_path.rglob("*_MANO_NeuralAnnot.json")
    data = json.loads(path.read_text())
    for frame in data["0"].values():
        frame["right"]["trans"][0] += 0.1
    path.write_text(json.dumps(data))
    status, said = run(capsys, "import", "interhand26m", tmp_path / "out", tmp_path / "back")
    assert status == 0
    assert "MANO left out: with the procedural hand its joints are" in said
    assert not Store(str(tmp_path / "back" / "Capture0" / "session" / "session.zarr")).complete("mano")
    write_models({side: procedural_hand(side) for side in HANDS}, tmp_path / "model")
    again = ("import", "interhand26m", tmp_path / "out", tmp_path / "other", "--hand-model", tmp_path / "model")
    status, said = run(capsys, *again)
    assert status == 2
    assert "Name another folder with --hand-model" in said
    frame = data["0"]["0"]
    frame["right"]["pose"].pop()
    path.write_text(json.dumps(data))
    assert "0.0.right.pose: expected 48 finite numbers, but found 47" in run(capsys, *again)[1]


def test_sequences_that_cannot_be_of_one_capture_get_captures_of_their_own(imported, tmp_path, capsys):
    """The same frames twice: the second time they are another capture's."""
    session = imported / "Capture3" / "0390_dh_touchROM"
    copy = shutil.copytree(session, tmp_path / "again")
    assert run(capsys, "export", "interhand26m", session, copy, "--out", tmp_path / "out")[0] == 0
    joints = load(tmp_path / "out", "joint_3d")
    assert {capture: list(frames) for capture, frames in joints.items()} == {"3": ["69148"], "4": ["0"]}
    places = {(each["capture"], each["seq_name"]) for each in load(tmp_path / "out", "data")["images"]}
    assert places == {(3, "0390_dh_touchROM"), (4, "again")}


def test_images_are_rectified_and_in_the_tree(tiny, tmp_path, capsys):
    """A drawn session: where the exported labels say the hands are, the exported images have skin."""
    session = fit_by_truth(tiny, tmp_path)
    status, said = run(capsys, "export", "interhand26m", session, "--out", tmp_path / "out")
    assert status == 0, said
    data, cameras, joints = (load(tmp_path / "out", kind) for kind in KINDS)
    with contextlib.redirect_stdout(io.StringIO()):  # its own tools read the file so
        assert len(COCO(str(next((tmp_path / "out").rglob("*_data.json")))).getAnnIds()) == len(data["images"])
    assert len(data["images"]) == len(list((tmp_path / "out").rglob("image*.jpg"))) > 40
    on_skin = []
    for image in data["images"]:
        shown = cv2.imread(str(tmp_path / "out" / "images" / "train" / image["file_name"]))
        assert shown is not None
        assert shown.shape == (image["height"], image["width"], 3)
        camera = {kind: np.array(values[image["camera"]]) for kind, values in cameras["0"].items()}
        record = joints["0"][str(image["frame_idx"])]
        in_camera = (np.array(record["world_coord"]) - camera["campos"]) @ camera["camrot"].T
        at = np.round(in_camera[:, :2] / in_camera[:, 2:] * camera["focal"] + camera["princpt"]).astype(int)
        inside = (at >= 0).all(axis=-1) & (at < [image["width"], image["height"]]).all(axis=-1)
        inside &= np.array(record["joint_valid"])[:, 0]
        on_skin += skin(shown)[at[inside, 1], at[inside, 0]].tolist()
    assert np.mean(on_skin) > 0.9


# ---- clips of the images --------------------------------------------------------------------------------------


@pytest.fixture
def tree(fixture, tmp_path):
    """The four images at their places in the dataset's tree."""
    for image in load(fixture, "data")["images"]:
        place = f"Capture{image['capture']}/{image['seq_name']}/cam{image['camera']}"
        (tmp_path / "images" / "test" / place).mkdir(parents=True)
        shutil.copy(fixture / image["file_name"], tmp_path / "images" / "test" / place)
    return tmp_path / "images"


def test_published_images_become_clips(fixture, tree, tmp_path, capsys):
    """Of each camera's own size; the labels are the truth, and the same import again changes nothing."""
    command = ("import", "interhand26m", fixture, tmp_path / "out", "--images", tree)
    status, said = run(capsys, *command)
    assert status == 0, said
    for image in load(fixture, "data")["images"]:
        root = tmp_path / "out" / f"Capture{image['capture']}" / image["seq_name"]
        session = read_session(root, CaptureSettings())
        assert session.views == (image["camera"],)
        assert session.clips[0].size_px == (image["width"], image["height"])
        (shown,) = read_frames(session.clips[0], [0])
        original = cv2.imread(str(fixture / image["file_name"]))
        assert original is not None
        assert np.abs(shown.astype(int) - original).mean() < 4
        assert np.isfinite(Store(str(root / "truth.zarr")).read("keypoints", "points")).any()
        assert not (root / "session.zarr").exists()
    assert "4 up to date" in run(capsys, *command)[1]


def test_our_own_images_become_the_session_again(tiny, tmp_path, capsys):
    """One frame of one view and all of another are missing: no row, and no view, and the rest in its place."""
    session = fit_by_truth(tiny, tmp_path)
    assert run(capsys, "export", "interhand26m", session, "--out", tmp_path / "ih")[0] == 0
    images = tmp_path / "ih" / "images" / "train"
    gone, *views = sorted(images.glob("Capture0/*/cam*"))
    shutil.rmtree(gone)
    (views[0] / "image2.jpg").unlink()
    status, said = run(capsys, "import", "interhand26m", tmp_path / "ih", tmp_path / "back", "--images", images)
    assert status == 0, said
    assert "images are not in" in said
    assert f"left out, since they have no image: {gone.name[3:]}" in said
    (root,) = (tmp_path / "back").glob("Capture0/*")
    back = read_session(root, CaptureSettings())
    assert list(back.views) == sorted(view.name[3:] for view in views)
    assert back.timeline.source_frame[0].tolist()[:4] == [0, 1, -1, 2]
    np.testing.assert_array_equal(back.timeline.source_frame[1], np.arange(back.timeline.frames))
    assert read_cameras_toml(root / "cameras.toml").names == back.views
    (third,) = read_frames(back.clips[0], [2])
    original = cv2.imread(str(views[0] / "image3.jpg"))
    assert original is not None
    assert np.abs(third.astype(int) - original).mean() < 4
    assert Store(str(root / "truth.zarr")).complete("mano")


def test_images_of_another_size_and_broken_ones(fixture, tree, tmp_path, capsys):
    (path,) = tree.rglob("image69148.jpg")
    command = ("import", "interhand26m", fixture, tmp_path / "out", "--images", tree, "--only", "Capture3/*")
    small = cv2.imencode(".jpg", np.zeros((50, 60, 3), np.uint8))[1].tobytes()
    broken = [(small, "it has 60x50"), (b"", "it cannot be decoded"), (path.read_bytes()[:20], "it cannot be decoded")]
    for content, found in broken:
        path.unlink()
        path.write_bytes(content)
        status, said = run(capsys, *command)
        assert status == 2
        assert f"image69148.jpg: expected an image of 334x512 pixels, as the annotations say, but {found}" in said
        assert not list((tmp_path / "out").rglob("*.*"))
    status, said = run(capsys, *command[:5], tmp_path / "elsewhere", *command[6:])
    assert status == 2
    assert "elsewhere: expected images at Capture*" in said


# ---- what must not go through ------------------------------------------------------------------------------------


@pytest.fixture
def broken(fixture, tmp_path):
    """A copy to break: (kind, change) rewrites one file."""
    folder = tmp_path / "annotations"
    folder.mkdir()
    for path in fixture.glob("*.json"):
        shutil.copy(path, folder)

    def change(kind, edit):
        (path,) = folder.glob(f"*_{kind}.json")
        data = json.loads(path.read_text())
        edit(data)
        path.unlink()  # the original may be read-only
        path.write_text(json.dumps(data))
        return folder

    return change


def each_record(data):
    return [record for frames in data.values() for record in frames.values()]


def metres(data):
    for record in each_record(data):
        record["world_coord"] = (0.001 * np.array(record["world_coord"])).tolist()


def swapped(data):
    for record in each_record(data):
        for key in ("world_coord", "joint_valid"):
            record[key] = record[key][21:] + record[key][:21]


def root_first(data):
    for record in each_record(data):
        for key in ("world_coord", "joint_valid"):
            record[key] = record[key][20::-1] + record[key][:20:-1]


def fewer(data):
    each_record(data)[0]["world_coord"].pop()


def climbs(data):
    data["images"][0]["seq_name"] = "../../../etc"


def absolute(data):
    data["images"][0]["seq_name"] = "/tmp/x"


def no_rotation(data):
    data["3"]["camrot"]["400026"][0] = [2, 0, 0]


def words(data):
    each_record(data)[0]["world_coord"][3] = ["a", "b", "c"]


def digits(data):
    for record in each_record(data):
        record["world_coord"] = [[str(x) for x in point] for point in record["world_coord"]]


def huge(data):
    each_record(data)[0]["world_coord"][3] = [10**400, 0, 0]


def infinite(data):
    each_record(data)[0]["world_coord"][3] = [1e999, 0, 0]


@pytest.mark.parametrize(
    ("kind", "edit", "sentence"),
    [
        ("joint_3d", metres, "look like metres: use --unit-m 1"),
        ("joint_3d", swapped, "exchange the first and the last 21 joints"),
        ("joint_3d", root_first, "skeleton.txt"),
        ("joint_3d", fewer, "expected 42 x 3 finite numbers, but found 41 x 3"),
        ("joint_3d", words, "expected 42 x 3 finite numbers"),
        ("joint_3d", infinite, "expected 42 x 3 finite numbers"),
        ("joint_3d", digits, "expected 42 x 3 finite numbers"),
        ("joint_3d", huge, "expected 42 x 3 finite numbers"),
        ("joint_3d", lambda data: data.update({"9" * 5000: data.pop("3")}), "a capture: expected a number"),
        ("joint_3d", lambda data: data["3"].update({"9" * 5000: None}), "a frame: expected a number"),
        ("data", lambda data: data["images"][0].update(width=10**30), "expected frame_idx, width and height"),
        ("joint_3d", lambda data: data.update({"../3": data.pop("3")}), "a capture: expected a number"),
        ("joint_3d", lambda data: data.clear(), "expected sequences, but found none"),
        ("data", climbs, "images[0].seq_name: expected a name of letters"),
        ("data", absolute, "images[0].seq_name: expected a name of letters"),
        ("data", lambda data: data["images"][0].pop("width"), "images[0]: expected frame_idx, width and height"),
        ("camera", no_rotation, "expected a rotation and focal lengths above zero"),
        ("camera", lambda data: data.pop("3"), "expected an object, but found None"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_is_wrong_is_said(broken, tmp_path, capsys, kind, edit, sentence):
    status, said = run(capsys, "import", "interhand26m", broken(kind, edit), tmp_path / "out")
    assert status == 2
    assert sentence in said
    assert not (tmp_path / "out").exists()


def test_other_files_are_refused(fixture, tmp_path, capsys, monkeypatch):
    wrong = [
        (tmp_path / "nowhere", "no such folder"),
        (tmp_path, "expected one file *_data.json, but found none"),
    ]
    for folder, sentence in wrong:
        status, said = run(capsys, "import", "interhand26m", folder, tmp_path / "out")
        assert (status, sentence in said) == (2, True), said
    nested = tmp_path / "nested"
    shutil.copytree(fixture, nested)
    (path,) = nested.glob("*_camera.json")
    path.chmod(0o644)
    nested.chmod(0o755)
    path.write_text("[" * 200_000)
    assert "cannot be read" in run(capsys, "import", "interhand26m", nested, tmp_path / "out")[1]
    monkeypatch.setattr("handpipe.exchange.datasets.common.json_files.MAX_BYTES", 1000)
    status, said = run(capsys, "import", "interhand26m", fixture, tmp_path / "out")
    assert (status, "a JSON file of at most" in said) == (2, True)


def test_frames_without_a_grid_are_left_out_with_a_warning(broken, tmp_path, capsys):
    """One number far off must not make a sequence of a million empty frames."""

    def far_away(data):
        for frame in ("69149", "123456789"):
            data["3"][frame] = {**data["3"]["69148"], "seq": "0390_dh_touchROM"}

    folder = broken("joint_3d", far_away)
    status, said = run(capsys, "import", "interhand26m", folder, tmp_path / "out")
    assert status == 0
    assert "left out: Capture3/0390_dh_touchROM: its 3 frames lie on no regular grid (69148 to 123456789)" in said
    assert not (tmp_path / "out" / "Capture3").exists()
    assert (tmp_path / "out" / "Capture2").exists()


def test_frames_that_are_missing_between_others_are_missing(broken, tmp_path, capsys):
    def every_third(data):
        for frame in ("69151", "69157"):
            data["3"][frame] = {**data["3"]["69148"], "seq": "0390_dh_touchROM"}

    folder = broken("joint_3d", every_third)
    assert run(capsys, "import", "interhand26m", folder, tmp_path / "out", "--fps", "30")[0] == 0
    session = tmp_path / "out" / "Capture3" / "0390_dh_touchROM"
    points = Store(str(session / "session.zarr")).read("keypoints", "points")
    assert np.isfinite(points).all(axis=(1, 2, 3)).tolist() == [True, True, False, True]
    assert run(capsys, "export", "interhand26m", session, "--out", tmp_path / "again")[0] == 0
    assert list(load(tmp_path / "again", "joint_3d")["3"]) == ["69148", "69151", "69157"]
    assert [image["frame_idx"] for image in load(tmp_path / "again", "data")["images"]] == [69148]
