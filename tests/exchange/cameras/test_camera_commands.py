"""`calibrate --from`, `export cameras`, `--refine-from-hands` and the choice of world, through the command line."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from clips import write
from scipy.spatial.transform import Rotation

from handpipe.calibration.cameras_toml import replace_cameras
from handpipe.calibration.refinement.stage import refine_from_hands
from handpipe.cli import main
from handpipe.core.cameras import Cameras
from handpipe.core.cameras_file import read_cameras, write_cameras
from handpipe.core.errors import CalibrationError
from handpipe.core.settings import Board
from handpipe.core.storage.schema import BOARD, CAMERAS, DETECTIONS, KEYPOINTS, Columns, camera_blocks, group_spec
from handpipe.core.storage.schema import read_cameras as stored_cameras
from handpipe.core.storage.store import Store
from handpipe.exchange.cameras.formats import WRITTEN, write_camera_file

SIZE = (320, 240)
RUN = ["--workers", "0", "--json"]


def rig_of(views: int = 4) -> Cameras:
    """Cameras on an arc, 0.8 m from the hands at the origin."""
    T = np.tile(np.eye(4), (views, 1, 1))
    for i, angle in enumerate(np.linspace(-0.9, 0.9, views)):
        T[i, :3, :3] = Rotation.from_euler("yx", [angle, 0.2 * (-1) ** i]).as_matrix()
        T[i, 2, 3] = 0.8
    K = np.tile(np.array([[300.0, 0, 160], [0, 300, 120], [0, 0, 1]]), (views, 1, 1))
    names = tuple(f"c{i}" for i in range(views))
    return Cameras(names, K, np.tile([-0.05, 0.01, 0, 0, 0], (views, 1)), T, np.tile(SIZE, (views, 1)))


def run(capsys, *argv) -> tuple[int, dict | None, str]:
    status = main([str(arg) for arg in argv])
    out, err = capsys.readouterr()
    return status, json.loads(out) if out else None, err


@pytest.fixture
def session(tmp_path):
    """Four clips of noise: enough for cameras that come from elsewhere."""
    root = tmp_path / "session"
    (root / "videos").mkdir(parents=True)
    for name in rig_of().names:
        write(root / "videos" / f"{name}.mp4", frames=2, size=SIZE)
    return root


@pytest.mark.parametrize("format", WRITTEN)
def test_from_a_file_and_out_again(session, tmp_path, capsys, format):
    numbered = {"caliscope": 0, "dlt": 1}  # formats without names
    rig = rig_of()
    if format in numbered:
        rig = replace(rig, names=tuple(f"cam_{i + numbered[format]}" for i in range(4)))
    for i, name in enumerate(rig.names):
        (session / "videos" / f"c{i}.mp4").rename(session / "videos" / f"{name}.mp4")
    source = tmp_path / "given"
    write_camera_file(source, rig, format)
    status, figures, err = run(capsys, "calibrate", session, "--from", source, *RUN)
    assert status == 0
    assert figures is not None
    assert figures["calibration_source"] == "cameras.toml"
    assert f"4 cameras, format {format}, " in err
    stored = stored_cameras(Store(str(session / "session.zarr")))
    np.testing.assert_allclose(stored.T_cam_world, rig.T_cam_world, atol=1e-12)
    np.testing.assert_array_equal(stored.size_px, rig.size_px)
    status, figures, err = run(capsys, "export", "cameras", session, tmp_path / "out", "--format", format, "--json")
    assert status == 0
    assert figures is not None
    assert figures["views"] == 4
    assert all(f"{format}: {line}" in err for line in figures["lost"])
    given = [p.read_bytes() for p in sorted(source.iterdir() if source.is_dir() else [source])]
    written = [p.read_bytes() for p in sorted((tmp_path / "out").iterdir() if source.is_dir() else [tmp_path / "out"])]
    if format == "colmap":  # quaternions and axis-angle: the last digits differ
        assert len(given) == len(written) == 3
    elif format != "npz":
        assert len(written[0].splitlines()) == len(given[0].splitlines())
    status, _, err = run(capsys, "export", "cameras", session, tmp_path / "out", "--format", format)
    assert status == 2
    assert "expected no such file or folder" in err
    assert run(capsys, "export", "cameras", session, tmp_path / "out", "--format", format, "--force")[0] == 0


def test_what_was_there_is_kept_and_a_bad_file_changes_nothing(session, tmp_path, capsys):
    rig = rig_of()
    write_cameras(session / "cameras.toml", rig)
    before = (session / "cameras.toml").read_bytes()
    T = rig.T_cam_world.copy()
    T[:, :3, 3] *= 1000
    cases = {
        "expected a camera file, but there is no such file": None,
        "a rig in metres": replace(rig, T_cam_world=T),
        "1 of 4 have none (c2)": rig.subset([0, 1, 3]),
        "expected cameras named like the views (c0, c1, c2, c3), but found a, b, c, d": replace(
            rig, names=tuple("abcd")
        ),
        "expected a clip of 640x480 pixels": replace(rig, size_px=rig.size_px * 2),
    }
    for message, given in cases.items():
        source = tmp_path / "given.yml"
        source.unlink(missing_ok=True)
        if given is not None:
            write_camera_file(source, given, "opencv")
        status, figures, err = run(capsys, "calibrate", session, "--from", source, *RUN)
        assert (status, figures) == (2, None), err
        assert message in err
        assert "Traceback" not in err
        assert (session / "cameras.toml").read_bytes() == before
        assert len(list(session.glob("*.toml"))) == 1
    status, _, err = run(capsys, "calibrate", session, "--unit-m", "0.001", *RUN)
    assert status == 2
    assert "--unit-m: expected it together with --from FILE" in err
    write_camera_file(tmp_path / "mm.yml", replace(rig, T_cam_world=T), "opencv")
    status, _, _ = run(capsys, "calibrate", session, "--from", tmp_path / "mm.yml", "--unit-m", "0.001", *RUN)
    assert status == 0
    assert (session / "cameras.before-import.toml").read_bytes() == before
    np.testing.assert_allclose(read_cameras(session / "cameras.toml").T_cam_world, rig.T_cam_world, atol=1e-12)


def test_a_supplied_file_in_millimetres_is_noticed_too(session, capsys):
    T = rig_of().T_cam_world.copy()
    T[:, :3, 3] *= 1000
    write_cameras(session / "cameras.toml", replace(rig_of(), T_cam_world=T))
    status, _, err = run(capsys, "calibrate", session, *RUN)
    assert status == 2
    assert "cameras.toml: expected a rig in metres" in err
    assert f"handpipe calibrate {session} --from {session / 'cameras.toml'} --unit-m 0.001`" in " ".join(err.split())
    command = ("calibrate", session, "--from", session / "cameras.toml", "--unit-m", "0.001", *RUN)
    assert run(capsys, *command)[0] == 0
    np.testing.assert_allclose(read_cameras(session / "cameras.toml").centers_m, rig_of().centers_m, atol=1e-9)


def test_without_clips_every_camera_is_taken(tmp_path, capsys):
    root = tmp_path / "session"
    write_camera_file(tmp_path / "rig.xml", rig_of(), "opencv")
    status, _, err = run(capsys, "calibrate", root, "--from", tmp_path / "rig.xml", *RUN)
    assert status == 2
    assert "expected a session folder, but found none" in err
    root.mkdir()
    status, figures, err = run(capsys, "calibrate", root, "--from", tmp_path / "rig.xml", *RUN)
    assert status == 0
    assert figures == {"supplied": str(tmp_path / "rig.xml")}
    assert "next: `handpipe import keypoints2d" in err
    assert read_cameras(root / "cameras.toml").names == rig_of().names
    write_camera_file(tmp_path / "camera.json", rig_of(), "interhand")
    status, _, err = run(capsys, "calibrate", root, "--from", tmp_path / "camera.json", *RUN)
    assert status == 2
    assert "expected image sizes" in err


def test_export_of_what_is_not_calibrated(session, tmp_path, capsys):
    status, _, err = run(capsys, "export", "cameras", session, tmp_path / "x")
    assert status == 2
    assert "expected a calibrated session" in err


def test_every_replacement_keeps_what_it_replaces(tmp_path):
    rigs = [replace(rig_of(), size_px=rig_of().size_px + i) for i in range(4)]
    for rig in rigs:
        replace_cameras(tmp_path, rig, "refinement", {})
    kept = ["cameras.before-refinement.toml", *(f"cameras.before-refinement-{i}.toml" for i in (2, 3)), "cameras.toml"]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(kept)
    for name, rig in zip(kept, rigs, strict=True):
        np.testing.assert_array_equal(read_cameras(tmp_path / name).size_px, rig.size_px)


# ---- from the hands ----------------------------------------------------------------------------------------------


def put(store: Store, name: str, columns: Columns, sizes: dict[str, int], blocks: dict, **more) -> None:
    """A whole group in one unit."""
    spec = group_spec(name, columns, sizes=sizes | {"session": 1}, unit={"session": 1}, fingerprint={}, **more)
    store.create(spec)
    store.write(name, (0,), blocks)
    store.finish(name)


def filmed_hands(root: Path, true: Cameras, found: Cameras, noise_px: float, board: bool = False) -> Store:
    """A store in which the true rig saw two hands, and joints were triangulated roughly; `found` is its calibration."""
    rng = np.random.default_rng(0)
    views, frames = len(true), 60
    hand = rng.uniform(-0.08, 0.08, (2, 21, 3))
    points = hand + rng.uniform(-0.1, 0.1, (frames, 2, 1, 3))
    uv = true.project(points) + rng.normal(0, noise_px, (views, frames, 2, 21, 2))
    store = Store(str(root / "session.zarr"))
    store.open()
    coords = {"view": (("view",), np.array(true.names, object))}
    sizes = {"view": views, "frame": frames, "candidate": 2, "rig": 1}
    put(store, "cameras", CAMERAS, sizes, camera_blocks(found, np.zeros(views)), attrs={}, coords=coords)
    score = np.ones((views, frames, 2))
    put(store, "detections", DETECTIONS, sizes, {"points": uv, "score": score, "right": score}, attrs={})
    keypoints = {
        "points": points + rng.normal(0, 0.003, points.shape),
        "sigma": np.ones((frames, 2, 21)),
        "assignment": np.tile([0, 1], (views, frames, 1)),
        "inlier": np.ones((views, frames, 2, 21), bool),
    }
    put(store, "keypoints", KEYPOINTS, sizes, keypoints, attrs={})
    if board:
        print_ = Board()
        grid = np.stack([*np.meshgrid(np.arange(1, 7), np.arange(1, 5)), np.zeros((4, 6))], -1).reshape(-1, 3)
        turn = Rotation.from_rotvec(rng.normal(0, 0.5, (10, 3))).as_matrix()
        corners = 0.04 * (grid - grid.mean(0)) @ turn.transpose(0, 2, 1)
        sizes |= {"board_frame": 10, "corner": 24}
        attrs = {"board": asdict(print_)}
        put(store, "board", BOARD, sizes, {"corners": true.project(corners)}, attrs=attrs, coords=coords)
    return store


def perturbed(rig: Cameras, seed: int = 1) -> Cameras:
    rng = np.random.default_rng(seed)
    T = rig.T_cam_world.copy()
    T[:, :3, :3] = Rotation.from_rotvec(rng.normal(0, 0.01, (len(rig), 3))).as_matrix() @ T[:, :3, :3]
    T[:, :3, 3] += rng.normal(0, 0.005, (len(rig), 3))
    return replace(rig, T_cam_world=T)


def test_a_bumped_rig_is_mended(tmp_path):
    true = rig_of(6)
    store = filmed_hands(tmp_path, true, perturbed(true), noise_px=0.5, board=True)
    write_cameras(tmp_path / "cameras.toml", perturbed(true))
    before = (tmp_path / "cameras.toml").read_bytes()
    figures, said = refine_from_hands(tmp_path, store, store, force=False)
    assert figures["accepted"]
    assert figures["before"]["held_out_px"] > 1.5
    assert figures["after"]["held_out_px"] < 0.6
    assert figures["after"]["bones_mm"] < figures["before"]["bones_mm"]
    # The board was not asked for its opinion, and has a better one.
    assert figures["after"]["board_mm"] < 0.8 * figures["before"]["board_mm"]
    assert (tmp_path / "cameras.before-refinement.toml").read_bytes() == before
    assert any("px before" in line for line in said)
    refined = read_cameras(tmp_path / "cameras.toml")
    assert not np.allclose(refined.T_cam_world, perturbed(true).T_cam_world, atol=1e-4)
    np.testing.assert_array_equal(refined.K, true.K)


def test_the_board_objects_when_the_hands_are_deceived(tmp_path):
    """Detections that follow a wrong rig: the hands fit it better, the board does not."""
    true, wrong = rig_of(4), perturbed(rig_of(4), seed=2)
    store = filmed_hands(tmp_path, wrong, true, noise_px=0.3)
    board = filmed_hands(tmp_path / "board", true, true, noise_px=0.3, board=True)
    write_cameras(tmp_path / "cameras.toml", true)
    before = (tmp_path / "cameras.toml").read_bytes()
    figures, said = refine_from_hands(tmp_path, store, board, force=False)
    assert figures["after"]["held_out_px"] < figures["before"]["held_out_px"]
    assert not figures["accepted"]
    assert "the board in this session's clips objects" in figures["objections"][0]
    assert said[-1].startswith("cameras.toml: left as it was; --force")
    assert [p.name for p in tmp_path.glob("*.toml")] == ["cameras.toml"]
    assert (tmp_path / "cameras.toml").read_bytes() == before
    figures, _ = refine_from_hands(tmp_path, store, board, force=True)
    assert figures["accepted"]
    assert (tmp_path / "cameras.before-refinement.toml").read_bytes() == before


def test_a_true_rig_gains_next_to_nothing(tmp_path):
    true = rig_of(5)
    store = filmed_hands(tmp_path, true, true, noise_px=1.0)
    figures, _ = refine_from_hands(tmp_path, store, store, force=False)
    assert figures["after"]["held_out_px"] > 0.97 * figures["before"]["held_out_px"]
    assert figures["moved"]["median_mm"] < 2


def test_too_few_hands(tmp_path):
    true = rig_of(4)
    lone = true.T_cam_world.copy()
    lone[1:] = np.nan
    store = filmed_hands(tmp_path, true, replace(true, T_cam_world=lone), noise_px=1.0)
    with pytest.raises(CalibrationError, match=r"expected two views or more with 60 joints .* found 0 such views"):
        refine_from_hands(tmp_path, store, store, force=False)


# ---- the world ---------------------------------------------------------------------------------------------------


def test_the_world_of_a_filmed_board(tiny, capsys):
    """The rig of the synthetic session, in the world of its board: the board's origin is where it was filmed."""
    root = tiny
    store, found = Store(str(root / "session.zarr")), []
    for world in ("first-camera", "gravity"):
        status, figures, _ = run(capsys, "calibrate", root, "--calibration.world", world, *RUN)
        assert status == 0
        assert figures is not None
        found.append((stored_cameras(store), figures["board_mm"]))
    (first, mm), (table, mm_table) = found
    np.testing.assert_array_equal(first.T_cam_world[0], np.eye(4))
    assert mm == pytest.approx(mm_table, abs=1e-9)
    # Whoever saw the board's front is above it, and the board's first corner is a square along x and -y.
    corners = store.read("board", "corners")[:, 0]
    saw = np.isfinite(corners[..., 0]).any(-1)
    assert saw.sum() >= 2
    assert (table.centers_m[saw, 2] > 0).all()
    square = Board().square_m
    away_px = table.project(np.array([square, -square, 0.0])) - corners[:, 0]
    assert np.nanmax(np.linalg.norm(away_px, axis=-1)) < 3
    status, figures, err = run(
        capsys, "calibrate", root, "--calibration.world", "board", "--calibration.world-frame", "999", *RUN
    )
    assert (status, figures) == (2, None)
    assert "expected the board in frame 999 (calibration.world_frame) of 60" in err
