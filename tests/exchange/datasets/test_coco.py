"""COCO-WholeBody hands: pycocotools reads them, the labels lie on the hands, and with the cameras motion comes back."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from exported import fit_by_truth, fitted_session
from pycocotools.coco import COCO

from handpipe.cli import main
from handpipe.core.cameras import Cameras, distort
from handpipe.core.storage.store import Store
from handpipe.exchange.datasets.coco.writer import annotation_of, box_in

SIZE = np.array([100, 80])


def run(capsys, *argv) -> tuple[int, str]:
    status = main([str(arg) for arg in argv])
    return status, " ".join(capsys.readouterr().err.split())


def two_hands() -> np.ndarray:
    """(hand, 21, 2): the left one in the image, but for a fingertip and a missing joint; the right one outside."""
    points = np.zeros((2, 21, 2))
    points[0] = np.stack([np.linspace(20, 40, 21), np.linspace(30, 50, 21)], axis=1)
    points[0, 8], points[0, 5] = [-3, 40], np.nan
    points[1] = 500
    return points


def test_hands_one_can_check_by_hand():
    used = np.zeros((2, 21), bool)
    used[0, 4] = True
    found = annotation_of(two_hands(), used, SIZE)
    assert found is not None
    left = np.reshape(found["lefthand_kpts"], (21, 3))
    assert left[0].tolist() == [20, 30, 1]
    assert left[4].tolist() == [24, 34, 2]
    assert left[8].tolist() == [0, 0, 0]  # outside
    assert left[5].tolist() == [0, 0, 0]  # missing
    assert found["lefthand_valid"]
    assert not found["righthand_valid"]
    assert found["righthand_box"] == [0, 0, 0, 0]
    assert found["bbox"] == found["lefthand_box"] == [18, 28, 24, 24]  # 20 x 20, a fifth larger
    assert np.reshape(found["keypoints"], (17, 3))[9].tolist() == [20, 30, 1]  # COCO's left wrist
    assert found["num_keypoints"] == 1


def test_nothing_in_the_image_is_no_annotation():
    assert annotation_of(np.full((2, 21, 2), 500.0), np.zeros((2, 21), bool), SIZE) is None
    assert annotation_of(np.full((2, 21, 2), np.nan), np.zeros((2, 21), bool), SIZE) is None


def test_what_a_lens_folds_back_is_not_in_the_image():
    """A hand at 60 degrees, which the polynomial of a strong lens puts near the middle of the picture."""
    K = np.array([[[100.0, 0, 50], [0, 100, 40], [0, 0, 1]]])
    camera = Cameras(("a",), K, np.array([[-0.4, 0, 0, 0, 0]]), np.eye(4)[None], SIZE[None])
    aside = np.stack([np.full(21, np.tan(np.deg2rad(60))), np.linspace(-0.01, 0.01, 21), np.ones(21)], axis=1)
    assert (np.abs(100 * distort(aside[:, :2], camera.distortion)) < 40).all()
    assert annotation_of(camera.project(np.stack([aside, aside]))[0], np.zeros((2, 21), bool), SIZE) is None
    before = aside * [0.1, 1, 1]
    found = annotation_of(camera.project(np.stack([before, aside]))[0], np.zeros((2, 21), bool), SIZE)
    assert found is not None
    assert found["lefthand_valid"]
    assert not found["righthand_valid"]


def test_a_box_stays_in_the_image():
    np.testing.assert_allclose(box_in(np.array([[0.0, 0], [99, 79]]), SIZE), [-0.5, -0.5, 100, 80])


@pytest.fixture
def exported(tmp_path, capsys):
    session = fitted_session(tmp_path / "session", frames=24, views=6)
    status, said = run(capsys, "export", "coco", session, "--out", tmp_path / "coco")
    assert status == 0, said
    assert "144 images, which lie in no clip" in said
    return session, tmp_path / "coco"


def test_pycocotools_reads_it(exported):
    _, folder = exported
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(folder / "annotations.json"))
    assert len(coco.getImgIds()) == 144
    annotations: Any = coco.loadAnns(coco.getAnnIds())
    assert len(annotations) == 144
    for each in annotations:
        (image,) = coco.loadImgs(each["image_id"])
        assert (image["width"], image["height"]) == (480, 384)
        assert len(each["lefthand_kpts"]) == len(each["righthand_kpts"]) == 63
        assert each["area"] > 0
        x, y, width, height = each["bbox"]
        assert x >= -0.5
        assert y >= -0.5
        assert x + width <= 479.5
        assert y + height <= 383.5
    last = [each for each in annotations if coco.loadImgs(each["image_id"])[0]["file_name"].endswith("000023.jpg")]
    assert not any(each["lefthand_valid"] for each in last)  # lost there
    assert all(each["righthand_valid"] for each in last)


def test_the_motion_comes_back_with_the_cameras(exported, tmp_path, capsys):
    session, folder = exported
    assert run(capsys, "import", "coco", folder, tmp_path / "back")[0] == 0
    assert run(capsys, "run", tmp_path / "back", "--until", "triangulate", "--workers", "0")[0] == 0
    before, after = (Store(str(root / "session.zarr")) for root in (session, tmp_path / "back"))
    assert after.attrs("keypoints")["fps"] == before.attrs("mano")["fps"]
    joints = before.read("mano", "joints")
    joints[~before.read("mano", "valid")] = np.nan
    found = after.read("keypoints", "points")
    both = np.isfinite(joints) & np.isfinite(found)
    assert both.mean() > 0.8
    assert np.abs(found - joints)[both].max() < 1e-5  # metres
    assert run(capsys, "export", "coco", tmp_path / "back", "--out", tmp_path / "again")[0] == 0
    data = json.loads((tmp_path / "again" / "annotations.json").read_text())
    visibility = np.concatenate([np.reshape(each["righthand_kpts"], (21, 3))[:, 2] for each in data["annotations"]])
    assert (visibility == 2).mean() > 0.8  # now there were detections, and they were used


def test_labels_lie_on_the_hands(tiny, tmp_path, capsys):
    session = fit_by_truth(tiny, tmp_path)
    assert run(capsys, "export", "coco", session, "--out", tmp_path / "coco")[0] == 0
    data = json.loads((tmp_path / "coco" / "annotations.json").read_text())
    images = {image["id"]: image for image in data["images"]}
    assert {p.relative_to(tmp_path / "coco").as_posix() for p in (tmp_path / "coco").rglob("*.jpg")} == {
        image["file_name"] for image in data["images"]
    }
    on_skin = []
    for each in data["annotations"]:
        shown = cv2.imread(str(tmp_path / "coco" / images[each["image_id"]]["file_name"]))
        assert shown is not None
        points = np.reshape(each["lefthand_kpts"] + each["righthand_kpts"], (42, 3))
        x, y, _ = np.round(points[points[:, 2] > 0]).astype(int).T
        blue, red = shown[y, x, 0].astype(int), shown[y, x, 2].astype(int)
        on_skin += (red > blue + 8).tolist()
    assert np.mean(on_skin) > 0.9
    status, said = run(capsys, "export", "coco", session, "--out", tmp_path / "bare", "--no-images")
    assert status == 0
    assert "images, which lie in no clip of the session or were left out" in said
    assert not list((tmp_path / "bare").rglob("*.jpg"))


def test_an_interrupted_export_leaves_nothing(tiny, tmp_path, capsys):
    """A clip that ends too soon, in the middle of the images."""
    session = fit_by_truth(tiny, tmp_path)
    clip = sorted((session / "videos").glob("*.mp4"))[1]
    clip.write_bytes(clip.read_bytes()[:-2000])
    status, said = run(capsys, "export", "coco", session, "--out", tmp_path / "out" / "coco")
    assert status == 2
    assert clip.name in said
    assert not list((tmp_path / "out").iterdir())


def test_without_cameras_it_says_so(tmp_path, capsys):
    np.savez(tmp_path / "points.npz", points=hands(), fps=30.0)
    assert run(capsys, "import", "keypoints", tmp_path / "points.npz", tmp_path / "bare")[0] == 0
    status, said = run(capsys, "export", "coco", tmp_path / "bare", "--out", tmp_path / "coco")
    assert status == 2
    assert "expected cameras" in said
    assert not (tmp_path / "coco").exists()


def hands() -> np.ndarray:
    from handpipe.hand.model import HandModel
    from handpipe.hand.procedural_motion import two_hand_motion

    motion = two_hand_motion(4, 30.0, 0)
    parts = [motion.global_orient, motion.hand_pose, motion.transl]
    return np.stack(
        [
            HandModel.procedural(hand).joints(motion.betas[i], *(part[:, i] for part in parts))
            for i, hand in enumerate(("left", "right"))
        ],
        axis=1,
    )


def edit(folder: Path, change) -> None:
    data = json.loads((folder / "annotations.json").read_text())
    change(data)
    (folder / "annotations.json").write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda data: data["annotations"][0]["lefthand_kpts"].pop(), "63 numbers"),
        (lambda data: data.pop("info"), "info.fps"),
        (
            lambda data: data["images"][0].update(file_name="../../../etc/c99/1.jpg"),
            "expected one of the session's views",
        ),
        (lambda data: data.pop("images"), "OpenPose's JSON: `people`"),
        (lambda data: data["annotations"][0].update(lefthand_kpts=["1"] * 63), "expected numbers"),
        (lambda data: data["annotations"][0].update(lefthand_kpts=[10**400] * 63), "expected numbers"),
        (lambda data: data["images"][0].update(file_name=""), "expected one of the session's views"),
        (lambda data: data["images"][0].update(file_name="c0/" + "9" * 5000), "expected the frame's number"),
        (lambda data: data["images"][0].update(width="480"), "expected width and height as whole numbers"),
        (lambda data: data["info"].update(fps=1e300), "expected 0.5 to 2000 frames per second"),
    ],
)
def test_what_is_wrong_is_said(exported, tmp_path, capsys, change, sentence):
    _, folder = exported
    edit(folder, change)
    status, said = run(capsys, "import", "coco", folder, tmp_path / "back")
    assert status == 2
    assert sentence in said


@pytest.mark.parametrize("text", ["a = " + "[" * 100_000, "a = " + "9" * 5000])
def test_cameras_that_are_none(exported, tmp_path, capsys, text):
    (exported[1] / "cameras.toml").write_text(text)
    status, said = run(capsys, "import", "coco", exported[1], tmp_path / "back")
    assert status == 2
    assert "cameras.toml: expected a TOML file" in said


def test_places_that_are_taken(exported, tmp_path, capsys):
    session, folder = exported
    assert "there is no annotations.json" in run(capsys, "import", "coco", session, tmp_path / "back")[1]
    (tmp_path / "filmed" / "videos").mkdir(parents=True)
    assert "holds another session" in run(capsys, "import", "coco", folder, tmp_path / "filmed")[1]
