"""The store: schema guard, whole-or-absent units, what opens in xarray."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import xarray as xr
import zarr

from handpipe.core.errors import DiskError, StoreError
from handpipe.core.schema import KEYPOINTS, MANO, group_spec
from handpipe.core.store import SCHEMA_VERSION, Store, digest


def keypoints_spec(frames=10, chunk=4, **fingerprint):
    return group_spec(
        "keypoints",
        KEYPOINTS,
        sizes={"view": 3, "frame": frames},
        unit={"frame": chunk},
        fingerprint={"code": 1, **fingerprint},
        attrs={"fps": 30.0},
        coords={"view": (("view",), np.array(["c1", "c2", "c10"], object))},
    )


def blocks(frames, value):
    return {
        "points": np.full((frames, 2, 21, 3), value, np.float32),
        "sigma": np.full((frames, 2, 21), value, np.float32),
        "assignment": np.zeros((3, frames, 2), np.int16),
        "inlier": np.ones((3, frames, 2, 21), bool),
    }


@pytest.fixture
def store(tmp_path):
    store = Store(str(tmp_path / "session.zarr"))
    store.open()
    return store


def test_a_unit_writes_its_frames_in_every_array_and_no_others(store):
    store.create(keypoints_spec())
    store.write("keypoints", (1,), blocks(4, 7.0))
    assert store.done("keypoints").tolist() == [False, True, False]
    points = store.read("keypoints", "points")
    assert (points[4:8] == 7).all()
    assert np.isnan(points[:4]).all()
    assert np.isnan(points[8:]).all()
    assert store.read("keypoints", "assignment")[:, :, 0].tolist() == [[-1] * 4 + [0] * 4 + [-1] * 2] * 3


def test_the_last_unit_may_be_shorter(store):
    store.create(keypoints_spec(frames=10, chunk=4))
    store.write("keypoints", (2,), blocks(2, 1.0))
    assert (store.read("keypoints", "points")[8:] == 1).all()


def test_opens_in_xarray_with_named_dimensions_and_no_warning(store, recwarn):
    store.create(keypoints_spec())
    for unit, frames in ((0, 4), (1, 4), (2, 2)):
        store.write("keypoints", (unit,), blocks(frames, 1.0))
    store.finish("keypoints")
    store.consolidate()
    data = xr.open_zarr(store.url, group="keypoints")
    assert data.points.dims == ("frame", "hand", "joint", "xyz")
    assert data.view.values.tolist() == ["c1", "c2", "c10"]
    assert data.points.sel(hand="left", joint="index_tip", xyz="z").shape == (10,)
    assert data.points.attrs["units"] == "metre"
    assert data.attrs["fps"] == 30.0
    assert not [w for w in recwarn if "onsolidated" in str(w.message)]


def test_a_group_half_removed_has_no_fingerprint(store, monkeypatch):
    store.create(keypoints_spec())
    store.finish("keypoints")
    monkeypatch.setattr(zarr.Group, "__delitem__", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        store.create(keypoints_spec(frames=5))
    assert store.fingerprint("keypoints") is None
    assert not store.complete("keypoints")


def test_a_store_of_a_newer_schema_is_refused_and_untouched(tmp_path):
    url = str(tmp_path / "s.zarr")
    zarr.create_group(url, attributes={"schema_version": SCHEMA_VERSION + 1, "handpipe_version": "9.9"})
    before = (tmp_path / "s.zarr" / "zarr.json").read_bytes()
    with pytest.raises(StoreError, match=r"expected schema version 1 or older.*version 2 by a newer handpipe \(9\.9\)"):
        Store(url).open()
    assert (tmp_path / "s.zarr" / "zarr.json").read_bytes() == before


def test_other_files_are_not_taken_for_a_store(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="expected a Zarr v3 store or nothing, but found other files"):
        Store(str(tmp_path)).open()
    zarr.create_group(str(tmp_path / "foreign.zarr"))
    with pytest.raises(StoreError, match="expected a store written by handpipe"):
        Store(str(tmp_path / "foreign.zarr")).open()


def test_broken_metadata_is_named(tmp_path):
    (tmp_path / "s.zarr").mkdir()
    (tmp_path / "s.zarr" / "zarr.json").write_text("{")
    with pytest.raises(StoreError, match="metadata cannot be read"):
        Store(str(tmp_path / "s.zarr")).open()


def test_a_full_disk_is_one_sentence_and_the_unit_stays_absent(store, monkeypatch):
    store.create(keypoints_spec())
    store.write("keypoints", (0,), blocks(4, 1.0))

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("zarr.storage._local._put", full)
    with pytest.raises(DiskError, match=r"No space left on device.*what is done is kept"):
        store.write("keypoints", (1,), blocks(4, 2.0))
    monkeypatch.undo()
    assert store.done("keypoints").tolist() == [True, False, False]
    assert (store.read("keypoints", "points")[:4] == 1).all()


def test_clean_removes_only_what_a_killed_writer_left(store):
    store.create(keypoints_spec())
    store.write("keypoints", (0,), blocks(4, 1.0))
    left = store.local / "keypoints" / "points" / "c" / "0.partial"
    left.write_bytes(b"half")
    before = {p for p in store.local.rglob("*") if p.is_file()} - {left}
    store.clean()
    assert {p for p in store.local.rglob("*") if p.is_file()} == before


def test_a_second_writer_is_kept_out_and_a_dead_one_is_not(store):
    code = (
        "import sys; from handpipe.core.store import Store\n"
        "with Store(sys.argv[1]).lock(): print('in', flush=True); input()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, store.url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "in\n"
    with pytest.raises(StoreError, match="another handpipe is"), store.lock():
        pass
    holder.kill()
    holder.communicate()
    with store.lock():
        assert store.exists()


def test_a_store_may_be_an_fsspec_url():
    store = Store("memory://handpipe-test/session.zarr")
    store.open()
    store.create(keypoints_spec())
    store.write("keypoints", (0,), blocks(4, 3.0))
    store.finish("keypoints")
    store.consolidate()
    assert store.complete("keypoints")
    assert (store.read("keypoints", "points")[:4] == 3).all()


def test_every_array_of_the_schema_says_its_unit_and_meaning(store):
    spec = group_spec("mano", MANO, {"frame": 3}, {"hand": 1}, {"code": 1}, {})
    assert spec.units == (2,)
    for array in spec.arrays.values():
        assert array.attrs["units"]
        assert array.attrs["description"]
    assert spec.arrays["betas"].unit == (1, 10)
    assert spec.arrays["hand_pose"].unit == (3, 1, 45)


def test_digest_ignores_order_and_sees_values():
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
