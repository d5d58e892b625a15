"""The store: schema guard, whole-or-absent units, what opens in xarray."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from fsspec.implementations.memory import MemoryFileSystem
from old_stores import as_before_checksums
from paths import SUPPORT
from toy_stage import execute

from handpipe.core.errors import DiskError, StoreError
from handpipe.core.storage.schema import KEYPOINTS, MANO, TRACKS, group_spec
from handpipe.core.storage.spec import unit_frames
from handpipe.core.storage.store import SCHEMA_VERSION, Store, digest
from handpipe.core.storage.verify import examine


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


def test_two_processes_may_make_it_at_the_same_moment(tmp_path, monkeypatch):
    url, answers = str(tmp_path / "a.zarr"), [False]
    Store(url).open()
    exists = Store.exists
    monkeypatch.setattr(Store, "exists", lambda self: answers.pop() if answers else exists(self))
    Store(url).open()
    assert not answers
    assert Store(url).exists()


def test_what_somebody_else_makes_at_the_same_moment_is_not_ours(tmp_path, monkeypatch):
    url, answers = str(tmp_path / "a.zarr"), [False]
    zarr.create_group(url, zarr_format=3, attributes={"handpipe": "no"})
    exists = Store.exists
    monkeypatch.setattr(Store, "exists", lambda self: answers.pop() if answers else exists(self))
    with pytest.raises(StoreError):
        Store(url).open()
    assert not answers


def test_an_array_is_opened_once_until_it_is_replaced(store, monkeypatch):
    """By the same object, by another one, and under its feet; also by an array of the same shape."""
    opened = []
    open_array = Store._array
    monkeypatch.setattr(
        Store, "_array", lambda self, *args, **how: (opened.append(args[0]), open_array(self, *args, **how))[1]
    )
    store.create(keypoints_spec(frames=10))
    store.write("keypoints", (0,), blocks(4, 1.0))
    opened.clear()
    for _ in range(3):
        assert (store.read("keypoints", "points")[:4] == 1).all()
    assert opened.count("keypoints/points") == 1
    store.write("keypoints", (1,), blocks(4, 2.0))
    assert (store.read("keypoints", "points")[4:8] == 2).all()
    for writer in (store, Store(store.url)):
        for frames in (10, 7, 12, 12):
            writer.create(keypoints_spec(frames=frames, chunk=frames))
            writer.write("keypoints", (0,), blocks(frames, float(frames)))
            points = store.read("keypoints", "points")
            assert points.shape == (frames, 2, 21, 3)
            assert (points == frames).all()
    store.remove("keypoints")
    with pytest.raises(StoreError, match="expected to read the group"):
        store.read("keypoints", "points")


def test_a_copy_keeps_nothing_open(store):
    store.create(keypoints_spec())
    before = pickle.dumps(store)
    store.read("keypoints", "points")
    assert pickle.dumps(store) == before
    assert pickle.loads(before) == store


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


def test_the_whole_store_opens_as_a_tree_in_xarray(store):
    """Every array of every group has named axes, also the engine's own, and none contradicts its parent's."""
    store.create(keypoints_spec())
    store.create(group_spec("mano", MANO, {"frame": 10}, {"hand": 1, "frame": 4}, {"code": 1}, {"fps": 30.0}))
    store.set_attrs("_written", cameras_toml=[])
    store.consolidate()
    with xr.open_datatree(store.url, engine="zarr") as tree:
        assert {"/keypoints", "/mano", "/mano/_engine", "/_written"} <= set(tree.groups)
        assert tree["mano/hand_pose"].dims == ("frame", "hand", "pose")
        assert tree["keypoints/_engine/done"].dims == ("frame_unit",)
        assert tree["mano/_engine/done"].sizes == {"hand_unit": 2, "frame_unit": 3}


def test_an_older_store_is_read_and_continued(store):
    """Without checksums, with a file for every mark, and where chunks of nothing but fill values are left out."""
    store.create(keypoints_spec())
    store.write("keypoints", (1,), blocks(4, 7.0))
    store.write("keypoints", (0,), blocks(4, np.nan))
    as_before_checksums(store)
    store.write("keypoints", (2,), blocks(2, 1.0))
    store.finish("keypoints")
    assert store.done("keypoints").tolist() == [True, True, True]
    assert store.complete("keypoints")
    assert store.fingerprint("keypoints") == {"code": 1}
    points = store.read("keypoints", "points")
    assert np.isnan(points[:4]).all()
    assert (points[4:8] == 7).all()
    assert not (store.local / "keypoints/points/c/0").exists()
    assert (store.local / "keypoints/_engine/done/c/2").exists()


KILLED_AT = """
import sys; sys.path.insert(0, {tests!r})
from pathlib import Path
from toy_stage import Store, execute
store = Store({url!r}); store.open(); store.clean()
changes = 0
def count(event, args):
    global changes
    if event in ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree"):
        changes += 1
        if changes == {nth}:
            os.kill(os.getpid(), signal.SIGKILL)
import os, signal
sys.addaudithook(count)
execute(store, Path({log!r}), workers=0, chunk=8, factor=2.0)
"""


@pytest.mark.parametrize("nth", [1, 2, 3, 4, 5, 6, 8, 12, 20, 28, 36])
def test_killed_while_an_old_result_goes_the_new_one_is_still_right(tmp_path, nth):
    """SIGKILL before the n-th change of the file system, while a stale group is removed and computed anew."""
    log = tmp_path / "log"
    log.touch()
    store, whole = Store(str(tmp_path / "s.zarr")), Store(str(tmp_path / "whole.zarr"))
    for each, factor in ((store, 1.0), (whole, 2.0)):
        each.open()
        execute(each, log, chunk=8, factor=factor)
    code = KILLED_AT.format(tests=str(SUPPORT), url=store.url, nth=nth, log=str(log))
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    store.clean()
    execute(store, log, chunk=8, factor=2.0)
    np.testing.assert_array_equal(store.read("squares", "points"), whole.read("squares", "points"))
    assert {p.name for p in Path(store.url).iterdir()} == {p.name for p in Path(whole.url).iterdir()}


def test_damage_is_named_with_what_to_do(store):
    store.create(keypoints_spec())
    store.write("keypoints", (0,), blocks(4, 1.0))
    (chunk,) = (store.local / "keypoints" / "sigma" / "c").rglob("0/0/0")
    chunk.write_bytes(b"garbage")
    with pytest.raises(
        StoreError, match=r"`keypoints/sigma` .* of frames 0 to 3 is damaged .* `handpipe verify \S+ --repair`"
    ):
        store.read("keypoints", "sigma")
    (store.local / "keypoints" / "zarr.json").write_text("{")
    with pytest.raises(StoreError, match="the group `keypoints`, but it is damaged"):
        store.attrs("keypoints")


def test_a_group_whose_metadata_is_gone_is_made_anew(store):
    store.create(keypoints_spec())
    (store.local / "keypoints" / "zarr.json").unlink()
    store.create(keypoints_spec())
    assert store.fingerprint("keypoints") == {"code": 1}


@pytest.mark.parametrize("url", ["/dev/null", "nosuchprotocol://x/y.zarr"])
def test_a_place_that_cannot_be_a_store(url):
    with pytest.raises(StoreError, match=r"expected a folder, or an address that fsspec can open"):
        Store(url).open()


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

    async def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("zarr.storage.LocalStore.set", full)
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


WRITES_ONE_UNIT = """
import os, signal, sys
import numpy as np
from handpipe.core.storage.store import Store
store, changes = Store(sys.argv[1]), 0
def count(event, args):
    global changes
    if event == "os.rename":
        changes += 1
        if changes == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(count)
store.write("keypoints", (0,), {"points": np.ones((4, 2, 21, 3), np.float32), "sigma": np.ones((4, 2, 21), np.float32)})
"""


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_clean_knows_the_names_of_what_zarr_has_not_renamed_yet(store, nth):
    """Zarr documents no name for it: should it choose another one, this fails. It is killed as it names a file."""
    store.create(keypoints_spec())
    before = {p for p in store.local.rglob("*") if p.is_file()}
    done = subprocess.run([sys.executable, "-c", WRITES_ONE_UNIT, store.url, str(nth)], check=False)
    assert done.returncode == -signal.SIGKILL
    left = {p for p in store.local.rglob("*") if p.is_file()} - before
    assert len(left) == nth, "the files before, and one without its name"
    store.clean()
    assert len({p for p in store.local.rglob("*") if p.is_file()} - before) == nth - 1
    assert not store.done("keypoints").any()


def test_a_second_writer_is_kept_out_and_a_dead_one_is_not(store):
    code = (
        "import sys; from handpipe.core.storage.store import Store\n"
        "with Store(sys.argv[1]).lock(print): print('in', flush=True); input()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, store.url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "in\n"
    with pytest.raises(StoreError, match="another handpipe is"), store.lock(print):
        pass
    holder.kill()
    holder.communicate()
    with store.lock(print):
        assert store.exists()


ClientError = type("ClientError", (Exception,), {"__module__": "botocore.exceptions"})


@pytest.mark.parametrize("error", [ConnectionResetError("reset"), TimeoutError(), ClientError("no route")])
def test_a_broken_connection_is_a_sentence(monkeypatch, error):
    """Whatever the library that talks to the server raises, wherever it does."""
    store = Store("memory://broken/session.zarr")
    store.open()
    store.create(keypoints_spec())

    def breaks(*_args, **_kwargs):
        raise error

    for name in ("cat_file", "pipe_file", "ls", "rm_file"):
        monkeypatch.setattr(MemoryFileSystem, name, breaks)
    for use in (store.exists, lambda: store.read("keypoints", "points"), store.groups, lambda: store.put("x", b"")):
        with pytest.raises(StoreError, match=r"broken/session\.zarr: expected to reach the store.* is kept"):
            use()
    with pytest.raises(StoreError, match="expected to reach the store"), store.lock(print):
        pass


def test_a_store_may_be_an_fsspec_url():
    store = Store("memory://handpipe-test/session.zarr")
    store.open()
    store.create(keypoints_spec())
    for unit, frames in enumerate((4, 4, 2)):
        store.write("keypoints", (unit,), blocks(frames, 3.0))
    store.finish("keypoints")
    store.consolidate()
    assert store.complete("keypoints")
    assert (store.read("keypoints", "points")[:4] == 3).all()
    store.create(keypoints_spec(frames=5))
    assert not store.done("keypoints").any()
    assert np.isnan(store.read("keypoints", "points")).all()
    store.remove("keypoints")
    assert store.groups() == set()


def test_every_array_of_the_schema_says_its_unit_and_meaning(store):
    spec = group_spec("mano", MANO, {"frame": 3}, {"hand": 1}, {"code": 1}, {})
    assert spec.units == (2,)
    for array in spec.arrays.values():
        assert array.attrs["units"]
        assert array.attrs["description"]
    assert spec.arrays["betas"].chunk == (1, 10)
    assert spec.arrays["hand_pose"].chunk == (3, 1, 45)


@pytest.mark.parametrize(
    ("frames", "of_a_view", "of_all"),
    [(1, 64, 64), (600, 64, 64), (8192, 64, 64), (8193, 128, 64), (18_000, 256, 64), (250_000, 2048, 256)],
)
def test_units_grow_with_the_recording(frames, of_a_view, of_all):
    assert unit_frames(frames, of_one_view=True) == of_a_view
    assert unit_frames(frames, of_one_view=False) == of_all


def test_units_stay_small_enough_for_a_worker():
    assert unit_frames(10**9, of_one_view=True) == 8192
    assert unit_frames(10**9, of_one_view=False) == 512


def test_units_are_of_whole_chunks():
    spec = keypoints_spec()
    points = replace(spec.arrays["points"], chunk=(8, *spec.arrays["points"].chunk[1:]))
    with pytest.raises(AssertionError, match="keypoints/points: units of whole chunks along frame"):
        replace(spec, arrays={**spec.arrays, "points": points})


def test_one_unit_writes_every_chunk_along_an_axis_that_units_do_not_cut(store):
    sizes = {"frame": 10, "session": 1}
    store.create(group_spec("tracks", TRACKS, sizes, {"session": 1}, {"code": 1}, {}, parts={"frame": 4}))
    slot = np.arange(20, dtype=np.int16).reshape(10, 2)
    points = np.ones((10, 2, 21, 3), np.float32)
    store.write("tracks", (0,), {"slot": slot, "points": points, "predicted": points})
    store.finish("tracks")
    assert sorted(path.name for path in (Path(store.url) / "tracks/slot/c").iterdir()) == ["0", "1", "2"]
    (Path(store.url) / "tracks/slot/c/1/0").write_bytes(b"broken")
    assert (store.read("tracks", "slot", slice(8, 10)) == slot[8:]).all()
    with pytest.raises(StoreError, match="frames 4 to 7"):
        store.read("tracks", "slot")
    (damage,) = examine(store).damages
    assert damage.kind == "unit"
    assert damage.unit == (0,)


def test_digest_ignores_order_and_sees_values():
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
