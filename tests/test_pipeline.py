"""The whole pipeline on a small filmed session, with the real detector, through the command line."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from clips import write
from paths import ONE_PROCESS

from handpipe.cli import main
from handpipe.core.engine import Engine
from handpipe.core.storage.store import SCHEMA_VERSION, Store

RUN = [*ONE_PROCESS, "--json"]


def run(capsys, *argv) -> tuple[int, Any, str]:
    """Exit status, the JSON of standard output (None without), standard error."""
    status = main([str(arg) for arg in argv])
    out, err = capsys.readouterr()
    return status, json.loads(out) if out else None, err


def contents(root: Path) -> dict[str, bytes | dict]:
    """Every file of a store; metadata by meaning, because the order of its keys is the file system's."""
    found = {}
    for path in sorted(root.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            found[str(path.relative_to(root))] = json.loads(data) if path.name == "zarr.json" else data
    return found


@pytest.fixture(scope="module")
def done(computed, tmp_path_factory):
    """A session that ran once, to copy from."""
    return Path(shutil.copytree(computed, tmp_path_factory.mktemp("done") / "tiny"))


def test_the_summary_is_right_about_everything(done, capsys):
    status, figures, _ = run(capsys, "run", done, *RUN)
    assert status == 0
    assert figures["computed"] == []
    assert figures["views_calibrated"] == figures["views"] == 8
    assert figures["frames"] == 8
    assert figures["board_px"] < 0.5
    assert sum(figures["hands_found"]) == pytest.approx(1)
    assert figures["frames_with_hand"] == {"left": 1.0, "right": 1.0}
    truth = figures["truth"]
    assert truth["camera_center_mm"]["max"] < 2
    assert truth["triangulated_joint_mm"]["mean"] < 10
    assert truth["fitted_joint_mm"]["mean"] < 10
    fingerprint = Store(str(done / "session.zarr")).fingerprint("shape")
    assert fingerprint is not None
    assert fingerprint["settings"]["landmark_offsets"] is True, "a detector's landmarks are not quite the joints"


def test_everything_opens_in_xarray(done, recwarn):
    for group, array, dims in (
        ("board", "corners", ("view", "board_frame", "corner", "xy")),
        ("cameras", "T_cam_world", ("view", "row4", "col4")),
        ("detections", "points", ("view", "frame", "candidate", "joint", "xy")),
        ("keypoints", "inlier", ("view", "frame", "hand", "joint")),
        ("mano", "hand_pose", ("frame", "hand", "pose")),
    ):
        data = xr.open_zarr(done / "session.zarr", group=group)
        assert data[array].dims == dims
        assert data.attrs["complete"]
    assert not [w for w in recwarn if "onsolidated" in str(w.message)]


def test_mano_reproduces_through_smplx(done):
    """The parameters, given to smplx as a user would, give the joints that the store says."""
    import torch

    from handpipe.core.hands import HANDS, MANO_JOINT, MANO_TIP_VERTEX, TIPS
    from handpipe.hand.model import HandModel

    data = xr.open_zarr(done / "session.zarr", group="mano")
    for hand in HANDS:
        one = data.sel(hand=hand)
        model = HandModel.procedural(hand).to_smplx()
        parameters = {name: torch.tensor(one[name].values) for name in ("global_orient", "hand_pose", "transl")}
        betas = torch.tensor(one.betas.values)[None].expand(len(one.frame), -1)
        out = model(betas=betas, **parameters)
        joints = np.full((len(one.frame), 21, 3), np.nan)
        joints[:, MANO_JOINT >= 0] = out.joints.detach().numpy()[:, MANO_JOINT[MANO_JOINT >= 0]]
        joints[:, TIPS] = out.vertices.detach().numpy()[:, MANO_TIP_VERTEX]
        np.testing.assert_allclose(joints, one.joints.values, atol=1e-5)


def test_regions_from_space_do_not_depend_on_chunks(done, tmp_path, capsys):
    """Searched frames, expected places and detections; without a calibration every image is searched."""
    found = []
    space = ["--detection.regions", "space", "--detection.search-s", "0.6"]  # every third frame
    for chunk in ("3", "64"):
        root = Path(shutil.copytree(done, tmp_path / chunk))
        flags = [*space, "--workers", "0", "--chunk-frames", chunk, "--json"]
        status, figures, _ = run(capsys, "detect", root, *flags)
        assert status == 0
        assert figures["computed"] == ["first_look", "first_groups", "places", "detections"]
        store = Store(str(root / "session.zarr"))
        arrays = {"places": ("points", "search"), "detections": ("points", "score", "right")}
        found.append({(group, name): store.read(group, name) for group, names in arrays.items() for name in names})
        assert run(capsys, "detect", root, *flags)[1]["computed"] == []
    for name, array in found[0].items():
        np.testing.assert_array_equal(array, found[1][name], err_msg=str(name))
    shutil.rmtree(root / "session.zarr")
    status, figures, _ = run(capsys, "detect", root, *space, *RUN)
    assert figures["computed"] == ["timeline", "detections"]


def test_chunks_and_workers_do_not_change_a_bit(done, tiny, capsys):
    """One chunk or many, this process or a cluster of two: every array is the same to the last bit.

    The chunk files and `chunk_frames` differ by design and are not compared.
    """
    status, _, _ = run(capsys, "run", tiny, "--workers", "2", "--chunk-frames", "5", "--json")
    assert status == 0
    for group in ("board", "cameras", "detections", "clock", "groups", "tracks", "second_look", "keypoints", "mano"):
        one = xr.open_zarr(done / "session.zarr", group=group).load()
        two = xr.open_zarr(tiny / "session.zarr", group=group).load()
        assert one.equals(two), group


def test_a_changed_fitting_option_recomputes_fitting_only_and_says_why(done, tmp_path, capsys):
    root = shutil.copytree(done, tmp_path / "tiny")
    status, figures, err = run(capsys, "run", root, *RUN, "--fitting.finger-acceleration-sd", "5")
    assert status == 0
    assert figures["computed"] == ["mano"]
    assert "mano: computed again, settings.finger_acceleration_sd 20.0 -> 5.0" in err


@pytest.mark.parametrize(
    ("command", "name"),
    [("detect", "videos/view0.mp4"), ("fit", "cameras.toml"), ("fit", "session.yaml"), ("fit", "timestamps.csv")],
)
def test_what_changes_during_a_run_is_told(done, tmp_path, capsys, monkeypatch, command, name):
    root = Path(shutil.copytree(done, tmp_path / "tiny"))
    path = root / name if name != "videos/view0.mp4" else sorted((root / "videos").iterdir())[0]
    group = {"detect": "detections", "fit": "mano"}[command]
    true = Engine._run

    def run_and_change(engine, store, plan, grid):
        true(engine, store, plan, grid)
        if plan.group.name == group:
            path.write_bytes((path.read_bytes() if path.exists() else b"") + b"\n")

    monkeypatch.setattr(Engine, "_run", run_and_change)
    status, _, err = run(capsys, command, root, *RUN, "--force")
    assert (status, "Traceback" in err) == (2, False)
    assert f"{path}: expected a session's files to stay as they are during a run" in err
    store = Store(str(root / "session.zarr"))
    assert not store.complete(group)
    assert (store.fingerprint(group) is None) == (command == "detect")


def test_an_edited_calibration_is_taken_as_supplied(done, tmp_path, capsys):
    root = shutil.copytree(done, tmp_path / "tiny")
    with (root / "cameras.toml").open("a") as file:
        file.write("# checked by hand\n")
    status, figures, err = run(capsys, "calibrate", root, *RUN)
    assert status == 0
    assert figures["calibration_source"] == "cameras.toml"
    assert "cameras: taken from" in err
    assert (root / "cameras.toml").read_text().endswith("# checked by hand\n")


def test_results_without_the_choice_of_looks_are_up_to_date(done, tmp_path, capsys):
    """Those of versions that did not store it: it is computed where the second look is."""
    root = Path(shutil.copytree(done, tmp_path / "tiny"))
    store = Store(str(root / "session.zarr"))
    store.remove("looks")
    assert run(capsys, "run", root, *RUN)[1]["computed"] == []
    before = store.read("second_look", "score")
    store.remove("second_look")
    assert run(capsys, "triangulate", root, *RUN)[1]["computed"] == ["looks", "second_look"]
    np.testing.assert_array_equal(store.read("second_look", "score"), before)


def test_prune_runs_the_whole_pipeline_on_two_frames_beside_the_full_one(done, tmp_path, capsys):
    root = shutil.copytree(done, tmp_path / "tiny")
    before = contents(root / "session.zarr")
    status, figures, _ = run(capsys, "run", root, *RUN, "--prune", "2")
    assert status == 0
    assert figures["frames"] == 2
    identity = ["clock", "groups", "tracks", "looks", "second_look", "keypoints", "quality"]
    assert figures["computed"] == ["timeline", "detections", *identity, "shape", "mano"]
    assert contents(root / "session.zarr") == before
    whole = xr.open_zarr(root / "session.zarr", group="detections").points[:, :2].values
    pruned = xr.open_zarr(root / "session-prune-2.zarr", group="detections").points.values
    np.testing.assert_array_equal(pruned, whole)


def test_stages_run_what_they_need(tiny, capsys):
    assert run(capsys, "detect", tiny, *RUN)[1]["computed"] == ["timeline", "detections"]
    assert run(capsys, "triangulate", tiny, *RUN)[1]["computed"] == [
        "board",
        "cameras",
        "clock",
        "groups",
        "tracks",
        "looks",
        "second_look",
        "keypoints",
        "quality",
    ]
    assert run(capsys, "run", tiny, *RUN, "--until", "triangulate")[1]["computed"] == []
    assert run(capsys, "fit", tiny, *RUN)[1]["computed"] == ["shape", "mano"]
    assert run(capsys, "fit", tiny, *RUN, "--force")[1]["computed"] == ["shape", "mano"]
    assert run(capsys, "triangulate", tiny, *RUN, "--second-look.no-enabled")[1]["computed"] == [
        "keypoints",
        "quality",
    ]


def test_killed_at_random_moments_it_ends_with_the_same_store(done, tiny):
    """SIGKILL the real command, its cluster with it, at random moments; then let it finish."""
    rng = np.random.default_rng(1)
    command = [sys.executable, "-m", "handpipe.cli", "run", str(tiny), *RUN]
    killed = 0
    for _ in range(6):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(float(rng.uniform(1.5, 6.0)))
        killed += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert killed >= 2
    subprocess.run(command, check=True, capture_output=True)
    assert contents(tiny / "session.zarr") == contents(done / "session.zarr")
    assert (tiny / "cameras.toml").read_bytes() == (done / "cameras.toml").read_bytes()


# ---- what the user got wrong -------------------------------------------------------------------------------------


def wrong(capsys, *argv):
    """The one sentence of a run that must end with status 2 and without a traceback."""
    status, figures, err = run(capsys, *argv)
    assert status == 2
    assert figures is None
    assert "Traceback" not in err
    (sentence,) = [line for line in err.splitlines() if line.startswith("handpipe: ")]
    return sentence


def test_neither_a_folder_nor_a_name(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "neither" in wrong(capsys, "run", "capture-sesion", *RUN)


def test_a_bad_clip_leaves_what_was_computed(done, tmp_path, capsys):
    root = shutil.copytree(done, tmp_path / "tiny")
    before = contents(root / "session.zarr")
    clip = root / "videos" / "c3.mp4"
    clip.write_bytes(clip.read_bytes()[:2000])
    assert "c3.mp4: expected" in wrong(capsys, "run", root, *RUN)
    assert contents(root / "session.zarr") == before


def test_an_unknown_key_leaves_what_was_computed(done, tmp_path, capsys):
    root = shutil.copytree(done, tmp_path / "tiny")
    before = contents(root / "session.zarr")
    (root / "session.yaml").write_text("fiting: {}\n")
    assert "unknown key 'fiting'. Known keys: augmentation, board, calibration" in wrong(capsys, "run", root, *RUN)
    assert contents(root / "session.zarr") == before


def test_a_store_of_a_newer_schema(done, tmp_path, capsys):
    root = shutil.copytree(done, tmp_path / "tiny")
    zarr.open_group(str(root / "session.zarr")).update_attributes({"schema_version": SCHEMA_VERSION + 1})
    before = contents(root / "session.zarr")
    assert "by a newer handpipe" in wrong(capsys, "run", root, *RUN)
    assert contents(root / "session.zarr") == before


def test_no_board_anywhere(tmp_path, capsys):
    (tmp_path / "videos").mkdir()
    for view in ("c1", "c2", "c3"):
        write(tmp_path / "videos" / f"{view}.mp4", frames=3, size=(160, 128))
    sentence = wrong(capsys, "run", tmp_path, *RUN)
    assert "board" in sentence
    assert not (tmp_path / "cameras.toml").exists()


def test_a_view_without_calibration_in_the_supplied_file(done, tiny, capsys):
    text = (done / "cameras.toml").read_text()
    start = text.index("[cam_2]")
    (tiny / "cameras.toml").write_text(text[:start] + text[text.index("[cam_3]") :])
    sentence = wrong(capsys, "run", tiny, *RUN)
    assert "cameras.toml: expected a calibration for every view, but 1 of 8 have none (c2)" in sentence


def test_a_board_that_does_not_exist_in_the_footage(done, tmp_path, capsys):
    root = shutil.copytree(done, tmp_path / "tiny")
    (root / "session.yaml").write_text("board: {dictionary: DICT_6X6_250}\n")
    assert "board" in wrong(capsys, "calibrate", root, *RUN)


def _tmpfs(folder: Path, size: str) -> bool:
    if os.geteuid() != 0:
        return False
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=False)
    return mounted.returncode == 0


def test_a_full_disk(tiny, tmp_path, capsys):
    """A real file system of 200 kB that really fills up; with more room the same command goes on."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if not _tmpfs(disk, "200k"):
        pytest.skip("mounting a small file system needs root and the mount permission")
    try:
        sentence = wrong(capsys, "detect", tiny, *RUN, "--store", disk / "s.zarr")
        assert os.strerror(errno.ENOSPC) in sentence
        assert "what is done is kept" in sentence
        subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)
        assert run(capsys, "detect", tiny, *RUN, "--store", disk / "s.zarr")[0] == 0
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_calibration_counts_as_ours_only_where_it_was_made(done, tmp_path, capsys):
    """Results thrown away: calibrated again. Copied to another recording: taken as it is."""
    root = shutil.copytree(done, tmp_path / "tiny")
    shutil.rmtree(root / "session.zarr")
    assert run(capsys, "calibrate", root, *RUN)[1]["calibration_source"] == "board"
    (root / "calibration" / "c0.mp4").unlink()
    shutil.rmtree(root / "session.zarr")
    assert (
        run(capsys, "calibrate", root, *RUN, "--capture.dead-views", "0.2")[1]["calibration_source"] == "cameras.toml"
    )


def test_a_supplied_calibration_for_another_image_size(done, tmp_path, capsys):
    root = shutil.copytree(done, tmp_path / "tiny")
    with (root / "cameras.toml").open("a") as file:
        file.write("# mine\n")
    assert run(capsys, "calibrate", root, *RUN)[0] == 0
    before = contents(root / "session.zarr")
    shutil.rmtree(root / "calibration")
    for clip in (root / "videos").iterdir():
        write(clip, frames=8, fps=5.0, size=(240, 192))
    assert "480x384" in wrong(capsys, "calibrate", root, *RUN)
    now = contents(root / "session.zarr")
    assert {k: v for k, v in now.items() if k.startswith("cameras/")} == {
        k: v for k, v in before.items() if k.startswith("cameras/")
    }


def test_a_wrong_board_does_not_cost_the_calibration(done, tmp_path, capsys):
    root = shutil.copytree(done, tmp_path / "tiny")
    toml = (root / "cameras.toml").read_bytes()
    before = xr.open_zarr(root / "session.zarr", group="cameras").load()
    assert "board" in wrong(capsys, "run", root, *RUN, "--board.columns", "12")
    assert xr.open_zarr(root / "session.zarr", group="cameras", consolidated=False).load().equals(before)
    assert (root / "cameras.toml").read_bytes() == toml


def test_another_rate_recomputes_what_depends_on_time_only(done, tmp_path, capsys):
    root = shutil.copytree(done, tmp_path / "tiny")
    status, figures, _ = run(capsys, "run", root, *RUN, "--fps", "6")
    assert status == 0
    assert not {"board", "detections"} & set(figures["computed"])
    # The cameras too: their delays are seconds.
    assert {"timeline", "cameras", "tracks", "mano"} <= set(figures["computed"])
    assert xr.open_zarr(root / "session.zarr", group="mano").attrs["fps"] == 6


def test_a_dead_camera_and_timestamps(done, tmp_path, capsys):
    root = shutil.copytree(done, tmp_path / "tiny")
    rows = [f"{i},{cam},{i},{i / 5}" for i in range(8) for cam in range(8)]
    (root / "timestamps.csv").write_text("\n".join(["sync_index,cam_id,frame_index,frame_time", *rows]) + "\n")
    (root / "videos" / "c3.mp4").write_bytes(b"")
    status, figures, err = run(capsys, "detect", root, *RUN, "--capture.dead-views", "0.2")
    assert status == 0
    assert list(figures["left_out"]) == ["c3"]
    assert "warning: left out:" in err


def test_real_clips_are_never_filmed_over(tmp_path, capsys):
    (tmp_path / "videos").mkdir()
    precious = write(tmp_path / "videos" / "c0.mp4", frames=2)
    before = precious.read_bytes()
    assert "clips that handpipe did not render" in wrong(capsys, "synthesize", tmp_path, "--views", "2")
    assert precious.read_bytes() == before


def test_a_film_is_made_whole_again_and_an_old_one_goes(tmp_path, capsys):
    small = ["--frames", "1", "--board-frames", "1", "--width", "64", "--height", "64", "--workers", "0", "--json"]
    assert run(capsys, "synthesize", tmp_path, "--views", "3", *small)[0] == 0
    (tmp_path / "videos" / "c1.mp4").unlink()
    assert run(capsys, "synthesize", tmp_path, "--views", "3", *small)[1]["computed"] != []
    assert (tmp_path / "videos" / "c1.mp4").exists()
    assert run(capsys, "synthesize", tmp_path, "--views", "2", *small)[0] == 0
    assert sorted(p.name for p in (tmp_path / "videos").iterdir()) == ["c0.mp4", "c1.mp4"]


def test_what_the_system_refuses_is_a_sentence(tiny, capsys):
    (tiny / "session.yaml").mkdir()
    assert "session.yaml: expected a YAML file with settings, but found a folder" in wrong(capsys, "run", tiny, *RUN)
    (tiny / "session.yaml").rmdir()
    (tiny / "cameras.toml").mkdir()
    assert "cameras.toml" in wrong(capsys, "run", tiny, *RUN)


def test_debug_shows_the_traceback(tmp_path):
    with pytest.raises(ValueError, match="expected a session folder"):
        main(["run", str(tmp_path / "none"), "--debug"])


def test_wrong_usage_is_status_2():
    with pytest.raises(SystemExit) as caught:
        main(["run", "x", "--no-such-flag"])
    assert caught.value.code == 2


def test_the_real_recording_runs(four_cameras, tmp_path, capsys):
    """A dozen frames of real footage: white-on-black board, cameras whose frames are matched by timestamps.csv."""
    (tmp_path / "videos").mkdir()
    for clip in four_cameras.glob("cam_*.mp4"):
        shutil.copy(clip, tmp_path / "videos")
    shutil.copy(four_cameras / "timestamps.csv", tmp_path)
    board = "columns: 4, rows: 5, square_m: 0.054, marker_m: 0.0405, dictionary: DICT_4X4_1000, inverted: true"
    (tmp_path / "session.yaml").write_text(f"board: {{{board}}}\n")
    status, figures, _ = run(capsys, "run", tmp_path, "--workers", "2", "--json", "--prune", "12")
    assert status == 0
    assert figures["views_calibrated"] == 4
    assert figures["board_mm"] < 1.5
    assert min(figures["frames_with_hand"].values()) > 0.5
