"""`handpipe view`: what is in the file, read back by the SDK."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import zarr
from rerun.chunk import RrdReader
from run_command import refusal, run_command
from stored_motions import clip, fitted, generated

from handpipe.cli import main
from handpipe.commands.pictures import View
from handpipe.core.storage.schema import read_cameras
from handpipe.core.storage.store import Store
from handpipe.reporting.measures import project


class Entity:
    """What a file holds of an entity: columns by name, of static data and over time."""

    def __init__(self) -> None:
        self.static: dict[str, list] = {}
        self.timed: dict[str, list] = {}
        self.timelines: set[str] = set()

    def values(self, name: str) -> dict[int, np.ndarray]:
        """Values of a component by frame."""
        found = next(key for key in self.timed if key.endswith(name))
        return {
            frame: np.array(value)
            for frame, value in zip(self.timed["frame " + found], self.timed[found], strict=True)
            if value is not None
        }


def entities(path: Path) -> dict[str, Entity]:
    found: dict[str, Entity] = {}
    for chunk in RrdReader(str(path)).stream().to_chunks():
        entity = found.setdefault(chunk.entity_path.lstrip("/"), Entity())
        entity.timelines |= set(chunk.timeline_names)
        batch = chunk.to_record_batch()
        columns = {name: batch.column(name).to_pylist() for name in batch.schema.names}
        for name, values in columns.items():
            if chunk.is_static:
                entity.static.setdefault(name, []).extend(values)
            elif name not in chunk.timeline_names:
                entity.timed.setdefault(name, []).extend(values)
                entity.timed.setdefault("frame " + name, []).extend(columns["frame"])
    return found


@pytest.fixture(scope="module")
def written(computed, tmp_path_factory):
    """The small session's file, read back."""
    out = tmp_path_factory.mktemp("viewed") / "tiny.rrd"
    assert main(["view", str(computed), "--save", str(out), "--views", "c1", "c4"]) == 0
    return entities(out)


def test_every_entity_of_a_session_and_both_lines_of_time(written):
    timed = {f"world/{group}/{side}" for group in ("mano", "keypoints", "truth") for side in ("left", "right")}
    image = {f"world/cameras/{view}/image{part}" for view in ("c1", "c4") for part in ("", "/candidates", "/fitted")}
    static = {"quality", "world", *(f"world/cameras/c{view}" for view in range(8))}
    assert timed | image | static <= set(written)
    assert {name for name in written if "/image" in name} == image
    for name in timed | image:
        assert written[name].timelines == {"frame", "time"}, name
    for name in static:
        assert not written[name].timelines, name
        assert written[name].static, name


def test_the_file_holds_what_the_store_holds(written, computed):
    store = Store(str(computed / "session.zarr"))
    points, sigma = store.read("keypoints", "points"), store.read("keypoints", "sigma")
    joints, valid = store.read("mano", "joints").astype(float), store.read("mano", "valid")
    for hand, side in enumerate(("left", "right")):
        shown, radii = (written[f"world/keypoints/{side}"].values(name) for name in ("positions", "radii"))
        meshes = written[f"world/mano/{side}"].values("vertex_positions")
        assert sorted(shown) == sorted(meshes) == list(range(len(points)))
        for frame in shown:
            known = np.isfinite(points[frame, hand]).all(axis=1)
            np.testing.assert_allclose(shown[frame], points[frame, hand][known], atol=1e-6)
            np.testing.assert_allclose(radii[frame], sigma[frame, hand][known], atol=1e-6)
            if valid[frame, hand]:
                assert meshes[frame].shape == (778, 3)
                near = np.linalg.norm(meshes[frame][:, None] - joints[frame, hand], axis=-1).min(axis=0)
                assert near.max() < 0.03
        # The ground truth lies over the fit, in the session's world.
        truth = written[f"world/truth/{side}"].values("strips")
        tips = np.array([strip[-1] for strip in truth[3]])
        assert np.linalg.norm(tips - joints[3, hand, 1:], axis=-1).mean() < 0.015


def test_images_and_candidates_are_in_their_places(written, computed):
    store = Store(str(computed / "session.zarr"))
    cameras = read_cameras(store).subset([4])
    images = written["world/cameras/c4/image"].values("blob")
    image = cv2.imdecode(np.frombuffer(bytes(images[3].ravel().tolist()), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert image.shape == (384, 480, 3)
    assert len(images) == store.read("mano", "valid").shape[0]
    fitted_px = written["world/cameras/c4/image/fitted"].values("strips")[3]
    joints = store.read("mano", "joints")[3].astype(float)
    uv = project(cameras, joints)[0].reshape(-1, 2) + 0.5
    near = np.linalg.norm(fitted_px.reshape(-1, 1, 2) - uv, axis=-1).min(axis=1)
    assert near.max() < 0.01
    candidates = written["world/cameras/c4/image/candidates"]
    points, colors = candidates.values("positions")[3], candidates.values("colors")[3]
    assert len(points) == len(colors) >= 21
    every = [written[f"world/cameras/{name}/image/candidates"].values("colors") for name in ("c1", "c4")]
    seen = {color >> 8 for each in every for frame in each.values() for color in frame.tolist()}
    assert {0xE69F00, 0x56B4E9} <= seen, "left and right have their own colours"
    assert np.linalg.norm(points[:, None] - uv, axis=-1).min(axis=1).mean() < 15


def test_the_verdict_can_be_read(written, computed):
    (text,) = (value for name, value in written["quality"].static.items() if name.endswith("text"))
    assert Store(str(computed / "session.zarr")).attrs("quality")["verdict"] in text[0][0]


def test_generated_samples_with_their_keyframes_and_paths(tmp_path):
    made = generated(tmp_path / "made.zarr", [clip(6, seed) for seed in (1, 2)])
    root = zarr.open_group(str(made), use_consolidated=False)
    pose = np.full((6, 2, 45), np.nan, np.float32)
    pose[[0, 5]] = 0
    root.create_group("controls", attributes={"complete": True}).create_array("hand_pose", data=pose)
    figures = run_command(View, made, "--save", tmp_path / "made.rrd")
    assert figures["samples"] == 2
    found = entities(tmp_path / "made.rrd")
    for sample in range(2):
        for side in ("left", "right"):
            assert found[f"samples/{sample}/mano/{side}"].timelines == {"frame", "time"}
            assert found[f"samples/{sample}/paths/{side}"].static
        assert {f"samples/{sample}/keyframes/{frame}" for frame in (0, 5)} <= set(found)
    assert not any(name.endswith("keyframes/1") for name in found)


def test_motion_without_clips_or_cameras_is_shown_too(computed, tmp_path):
    session = Path(shutil.copytree(computed, tmp_path / "tiny"))
    shutil.rmtree(session / "videos")
    figures = run_command(View, session, "--save", tmp_path / "a.rrd", "--views", "c1", "--frames", "2-3")
    assert figures["warnings"] == ["there is no clip of c1: its images are left out"]
    session = fitted(tmp_path / "one", clip(4))
    assert run_command(View, session, "--save", tmp_path / "b.rrd")["views"] == []
    assert {"world/mano/left", "world/keypoints/right", "quality"} <= set(entities(tmp_path / "b.rrd"))


def test_without_a_display_or_the_sdk_a_sentence_says_what_to_do(computed, tmp_path, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "WAYLAND_SOCKET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert "--save FILE.rrd" in refusal(View, computed)
    assert "ends in .rrd" in refusal(View, computed, "--save", tmp_path / "x.mp4")
    assert "ends in .rrd" in refusal(View, computed, "--save", tmp_path)
    monkeypatch.setitem(sys.modules, "rerun", None)
    assert "pip install 'handpipe[view]'" in refusal(View, computed, "--save", tmp_path / "x.rrd")
    (tmp_path / "empty").mkdir()
    assert "handpipe run" in refusal(View, tmp_path / "empty", "--save", tmp_path / "x.rrd")
    assert not (tmp_path / "x.rrd").exists()
