"""Laws of every registered format: what is written comes back, within the loss that the format states.

A new format is tested here as soon as it is registered.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from stored_motions import IDS, clip, without
from toy_stage import Quiet

from handpipe.cli import main
from handpipe.core.storage.store import Store
from handpipe.exchange.export_format import ExportFormat, export_formats
from handpipe.exchange.exporting import export
from handpipe.exchange.formats import Format, formats_of
from handpipe.exchange.imported_session import ImportedSession, write_imported
from handpipe.exchange.keypoints2d.files import MAX_BYTES
from handpipe.exchange.keypoints2d.format import keypoints2d_formats
from handpipe.exchange.motion.upright import along_axis, y_up
from handpipe.hand.keypoints import Keypoints
from handpipe.hand.presence import hand_is_there
from handpipe.rendering.rig import dome_rig

NAME = "Größe ñ 1"
"""A session's folder, with accents and a space."""

RIG = dome_rig(3, (480, 384))


def lost_in_places(frames: int, seed: int) -> dict[str, np.ndarray]:
    """Gaps at the beginning, in the middle and at the end, of either hand and of both at once."""
    arrays = clip(frames, seed)
    for hand, gap in ((0, slice(0, 2)), (1, slice(1, 3)), (0, slice(5, 6)), (1, slice(-2, None))):
        arrays = without(arrays, hand, gap)
    return arrays


def valid_over_nothing(frames: int, seed: int) -> dict[str, np.ndarray]:
    """As other tools write it: `valid` stays true where every number is NaN."""
    arrays = without(clip(frames, seed), 0, slice(3, 6))
    return {**arrays, "valid": np.ones_like(arrays["valid"])}


CASES = {
    "one frame": (clip(1, 12), 30.0),
    "no left hand at 30": (without(clip(6, 13), 0, slice(None)), 30.0),
    "no right hand at 120": (without(clip(6, 14), 1, slice(None)), 120.0),
    "gaps at 29.97": (lost_in_places(12, 15), 29.97),
    "valid over NaN at 25": (valid_over_nothing(9, 16), 25.0),
}


def session_of(root: Path, arrays: dict[str, np.ndarray], fps: float) -> Path:
    """A fitted session with cameras; its keypoints are the fitted joints."""
    joints = arrays["joints"]
    seen = np.isfinite(joints[..., 0])
    residual = np.full(arrays["valid"].shape, np.nan, np.float32)
    session = ImportedSession(
        fps=fps,
        keypoints=Keypoints(joints, np.where(seen, 0.001, np.nan).astype(np.float32), fps),
        mano={**arrays, "residual": residual},
        hand_model=(IDS[0], IDS[1]),
        cameras=RIG,
    )
    write_imported(root, session, {"settings": {}, "inputs": {}, "code": 0}, {})
    return root


def there_and_back(into: ExportFormat, session: Path, folder: Path, fps: float, capsys) -> tuple[Store, dict]:
    """The store of what is read back by the command that the format names, and the export's figures."""
    file = folder / f"{NAME}{next(iter(into.suffixes), '')}"
    exported = export(into, [str(session)], file, None, Quiet())
    words = {"FILE": str(file), "OUT": str(folder / "back"), "FPS": str(fps)}
    command = ["import", *(words.get(word, word) for word in into.read_back.split())]
    if command[1] == "keypoints" and exported["sequences"][0]["frames"] == 1:
        command += ["--fps", str(fps)]  # the times of one frame tell no rate
    assert main(command) == 0, capsys.readouterr().err
    capsys.readouterr()
    (found,) = (folder / "back").rglob("session.zarr")
    return Store(str(found)), exported


def held(values: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Each hand's last pose before a gap, or the first one that there is."""
    source = np.maximum.accumulate(np.where(valid, np.arange(len(valid))[:, None], -1), axis=0)
    source = np.where(source < 0, valid.argmax(axis=0), source)
    return np.stack([values[source[:, hand], hand] for hand in range(2)], axis=1)


def expect_joints(into: ExportFormat, back: np.ndarray, joints: np.ndarray, there: np.ndarray) -> None:
    turn = np.eye(3) if into.keeps_axes else y_up(along_axis(RIG.up))
    assert (np.abs(back[there] - joints[there] @ turn.T) <= into.within).all()
    if into.keeps_gaps:
        assert np.isnan(back[~there]).all()
    else:
        known = there.any(axis=0)
        np.testing.assert_allclose(back[:, known], held(joints, there)[:, known], atol=into.within)
        assert np.isnan(back[:, ~known]).all()


def expect_hands_in_images(into: ExportFormat, store: Store, joints: np.ndarray, there: np.ndarray) -> None:
    """In every view the hands that are there, on the pixels where their joints are."""
    points, score = store.read("detections", "points"), store.read("detections", "score")
    pixels = np.where(there[None, ..., None, None], RIG.project(joints.astype(np.float64)), np.nan)
    for view, (width, height) in enumerate(RIG.size_px.tolist()):
        inside = (np.abs(pixels[view] + 0.5 - [width / 2, height / 2]) <= [width / 2, height / 2]).all(axis=-1)
        for frame in range(len(joints)):
            expected = [np.where(inside[frame, h, :, None], pixels[view, frame, h], np.nan) for h in range(2)]
            expected = [each for each in expected if np.isfinite(each).any()]
            found = [points[view, frame, c] for c in np.flatnonzero(np.isfinite(score[view, frame]))]
            assert len(found) == len(expected)
            for each in found:
                errors = [np.abs(each - other) for other in expected]
                assert min(np.nanmax(error) for error in errors) < into.within
                assert any((np.isnan(each) == np.isnan(other)).all() for other in expected)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", [name for name, each in export_formats().items() if each.read_back])
def test_what_is_written_comes_back(name, case, tmp_path, capsys):
    into, (arrays, fps) = export_formats()[name], CASES[case]
    there = hand_is_there(arrays)
    session = session_of(tmp_path / NAME, arrays, fps)
    store, exported = there_and_back(into, session, tmp_path / "out é", fps, capsys)
    assert exported["lost"]
    assert store.attrs(into.group)["fps"] == pytest.approx(fps, rel=1e-6)
    match into.group:
        case "mano":
            assert (store.read("mano", "valid") == there).all()
            for array in ("betas", "global_orient", "hand_pose", "transl", "joints"):
                assert store.read("mano", array).tobytes() == arrays[array].tobytes(), array
        case "keypoints":
            expect_joints(into, store.read("keypoints", "points"), arrays["joints"], there)
        case "detections":
            expect_hands_in_images(into, store, arrays["joints"], there)


# ---- what the registry says ------------------------------------------------------------------------------------


@pytest.mark.parametrize("package", ["motion", "datasets", "keypoints2d.formats"])
def test_every_format_says_what_a_user_asks(package):
    for each in formats_of(package, Format).values():
        assert each.title
        assert each.reads
        assert (each.writes and each.loses) or package == "keypoints2d.formats"
        assert all(suffix.startswith(".") and suffix.islower() for suffix in each.suffixes)


def test_suffixes_tell_the_reader():
    assert {suffix for each in keypoints2d_formats().values() for suffix in each.suffixes} == set(MAX_BYTES)
    readable = [s for each in formats_of("motion", ExportFormat).values() if vars(each)["read"] for s in each.suffixes]
    assert len(readable) == len(set(readable))


@pytest.mark.parametrize("suffix", [".bvh", ".mat", ""])
def test_a_file_of_another_kind_is_refused_with_what_is_read(tmp_path, capsys, suffix):
    (tmp_path / f"it{suffix}").write_text("x")
    assert main(["import", "keypoints", str(tmp_path / f"it{suffix}"), str(tmp_path / "out")]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "expected a file that ends in .csv, .glb, .gltf, .npz, .trc" in said
    assert ".bvh with `handpipe import bvh`" in said
