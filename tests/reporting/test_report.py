"""`handpipe report` on a small filmed session: whole, half computed, damaged, and where it cannot be written."""

from __future__ import annotations

import base64
import errno
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from altered_stores import overwrite_array

from handpipe.cli import main
from handpipe.core.quality import Check, as_attributes
from handpipe.core.storage.schema import read_cameras
from handpipe.core.storage.store import SCHEMA_VERSION, Store
from handpipe.hand.loading import hand_models
from handpipe.reporting.measures import project
from handpipe.reporting.player import NONE, PICTURE_UNITS


@pytest.fixture
def session(computed, tmp_path):
    """A computed session to spoil."""
    return Path(shutil.copytree(computed, tmp_path / "tiny"))


def written(session: Path, *flags: str) -> tuple[str, dict]:
    """The page of a session, and the data in it."""
    assert main(["report", str(session), *flags]) == 0
    page = (session / "report.html").read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return page, json.loads(found[1])


def unpacked(text: str, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype).reshape(shape)


def refused(capsys, *argv: str) -> str:
    """What is said instead of a report."""
    assert main(["report", *argv]) == 2
    err = capsys.readouterr().err
    assert "Traceback" not in err
    return " ".join(err.split())


def test_the_page_holds_what_the_store_holds(session, capsys):
    page, data = written(session, "--json")
    figures = json.loads(capsys.readouterr().out)
    assert figures["missing"] == []
    assert figures["verdict"] == Store(str(session / "session.zarr")).attrs("quality")["verdict"]
    assert len(page.encode()) < 15e6
    for text in ("8 of 8", "error against the truth", "Worst moments", figures["verdict"].capitalize()):
        assert text in page
    names = {"coverage", "support", "identity", "reprojection", "residual", "jitter", "bones", "palm", "gap"}
    assert set(data["charts"]) == names
    assert all(f'data-chart="{name}"' in page for name in names)
    # Nothing is asked for from outside; the browser is told so, too.
    assert "default-src 'none'" in page
    markup = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"(?:src|href|url)\s*[=(]\s*[\"']?(?:https?:)?//", markup)


def test_the_player_has_the_meshes_and_their_places_in_the_pictures(session):
    _, data = written(session, "--views", "c1", "c5")
    player, store = data["player"], Store(str(session / "session.zarr"))
    valid = store.read("mano", "valid")
    frames = len(valid)
    assert player["frames"] == list(range(frames))
    mesh = unpacked(player["mesh"], "<i2", (frames, 2, 778, 3))
    poses = [store.read("mano", name) for name in ("global_orient", "hand_pose", "transl")]
    for hand, model in enumerate(hand_models(None)):
        expected = model.vertices(store.read("mano", "betas")[hand], *(each[:, hand] for each in poses))
        there = valid[:, hand]
        found = np.array(player["origin"]) + player["step"] * mesh[:, hand]
        assert np.abs(found - expected)[there].max() <= player["step"]
        assert (mesh[~there, hand] == NONE).all()
    residual = unpacked(player["residual"], "<i2", (frames, 2, 21)) / 100
    assert np.sqrt((residual**2).mean(-1))[valid] == pytest.approx(
        1e3 * store.read("mano", "residual")[valid], abs=0.02
    )
    cameras = read_cameras(store)
    assert [view["name"] for view in player["views"]] == ["c1", "c5"]
    uv = project(cameras.subset([1]), store.read("mano", "joints"))[0]
    places = unpacked(player["views"][0]["fitted"], "<i2", (frames, 2, 21, 2)) / PICTURE_UNITS
    # The pictures are cut out and scaled: one scale and shift for all of them.
    x, found = uv[..., 0][valid].ravel(), places[..., 0][valid].ravel()
    scale, shift = np.polyfit(x, found, 1)
    assert np.abs(scale * x + shift - found).max() < 0.2
    assert len(player["views"][0]["images"]) == frames
    assert all(base64.b64decode(image)[:2] == b"\xff\xd8" for image in player["views"][0]["images"])


def test_half_a_session_shows_what_there_is_and_what_is_missing(session):
    store = Store(str(session / "session.zarr"))
    store.remove("mano")
    page, data = written(session)
    assert f"handpipe fit {session}" in page
    assert data["player"]["mesh"] is None
    assert "residual" not in data["charts"]
    assert "palm" in data["charts"]
    for group in ("quality", "keypoints"):
        store.remove(group)
    page, data = written(session)
    assert "No verdict yet" in page
    assert data["player"] is None
    assert "There is nothing to play" in page
    for group in ("detections", "clock", "timeline", "cameras"):
        store.remove(group)
    page, data = written(session)
    assert "handpipe calibrate" in page
    assert data["charts"] == {}


def test_motion_without_cameras_plays_in_space(session):
    store = Store(str(session / "session.zarr"))
    for group in store.groups() - {"mano", "keypoints"}:
        if not group.startswith("_"):
            store.remove(group)
    page, data = written(session)
    assert data["player"]["mesh"]
    assert data["player"]["views"] == data["player"]["cameras"] == []
    assert set(data["charts"]) == {"residual", "jitter", "palm", "bones", "gap"}
    assert "handpipe calibrate" in page


def test_no_hand_in_any_frame(session):
    for name, value in (("keypoints/points", np.nan), ("keypoints/assignment", -1), ("mano/valid", False)):
        overwrite_array(session / "session.zarr", name, value)
    error = Check("hands in the images", "error", 0.0, 0.02, reason="expected hands.", remedy="Check the focus.")
    Store(str(session / "session.zarr")).set_attrs("quality", **as_attributes([error]))
    page, data = written(session)
    assert "Not usable" in page
    assert "Check the focus." in page
    assert "0 / 0 %" in page
    assert len(data["player"]["views"]) == 6
    assert "palm" not in data["charts"]


def test_without_clips_there_are_no_pictures_and_names_are_text(session):
    shutil.rmtree(session / "videos")
    page, data = written(session.rename(session.with_name("<b>tiny&co")))
    assert "No pictures: there is no clip of" in page
    assert data["player"]["mesh"]
    assert "<h1>&lt;b&gt;tiny&amp;co</h1>" in page


def test_a_newer_store_is_refused(session, capsys):
    root = zarr.open_group(str(session / "session.zarr"), mode="r+", use_consolidated=False)
    root.update_attributes({"schema_version": SCHEMA_VERSION + 1})
    assert "Update handpipe" in refused(capsys, str(session))
    assert not (session / "report.html").exists()


def test_what_is_no_session_is_refused(session, tmp_path, capsys):
    assert "there is no such folder" in refused(capsys, str(tmp_path / "nothing"))
    (tmp_path / "empty").mkdir()
    assert "handpipe run" in refused(capsys, str(tmp_path / "empty"))
    assert "expected a session folder, but found a store" in refused(capsys, str(session / "session.zarr"))
    assert "--views" in refused(capsys, str(session), "--views", "c1", "nobody")
    assert "handpipe run" in refused(capsys, str(session), "--prune", "3")
    assert "found a folder" in refused(capsys, str(session), "--out", str(tmp_path))


def test_without_permission_to_write_the_old_report_stays(session, capsys, monkeypatch):
    (session / "report.html").write_text("old")

    def refuse(source, target):
        raise PermissionError(errno.EACCES, "Permission denied", str(target))

    monkeypatch.setattr("handpipe.core.storage.atomic.move", refuse)
    assert "Permission denied" in refused(capsys, str(session))
    assert (session / "report.html").read_text() == "old"
    assert [path.name for path in session.glob(".report*")] == []
