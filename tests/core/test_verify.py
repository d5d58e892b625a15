"""Checksums: what is damaged is a sentence when it is read, is found by `examine`, and only that is computed again."""

from __future__ import annotations

import contextlib
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from exported import fitted_session
from old_stores import as_before_checksums
from toy_stage import execute

from handpipe.core.errors import SessionError, StoreError
from handpipe.core.storage.chunks import ChunkError, Grid
from handpipe.core.storage.repair import repair
from handpipe.core.storage.schema import read_cameras
from handpipe.core.storage.store import Store
from handpipe.core.storage.verify import examine


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log"
    path.touch()
    return path


@pytest.fixture
def store(tmp_path, log):
    """One group of six units."""
    store = Store(str(tmp_path / "s.zarr"))
    store.open()
    execute(store, log, chunk=4)
    store.set_attrs("_written", cameras_toml=["a"])
    store.consolidate()
    log.write_text("")
    return store


def files(store: Store) -> dict[str, bytes]:
    root = Path(store.url)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def parsed(store: Store) -> dict[str, object]:
    """All metadata; the order of attributes may be another."""
    return {name: json.loads(text) for name, text in files(store).items() if name.endswith(".json")}


def flip(path: Path, at: int, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1 << bit
    path.write_bytes(content)


def damages(store: Store) -> list[str]:
    return [damage.what for damage in examine(Store(store.url)).damages]


def fresh(store: Store) -> Store:
    return Store(store.url)


def test_nothing_is_wrong_with_what_was_written(store):
    examined = examine(store)
    assert examined.damages == ()
    assert examined.without_checksums == ()
    assert examined.chunks == 6 * 3 + 3, "three arrays of six units, two axes of labels, the marks"


def how(path: Path, kind: str) -> None:
    if kind == "missing":
        path.unlink()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "truncated":
        path.write_bytes(path.read_bytes()[:-3])
    else:
        flip(path, 5)


@pytest.mark.parametrize("kind", ["missing", "empty", "truncated", "flipped"])
def test_a_damaged_chunk_is_a_sentence_and_only_its_unit_is_computed_again(store, log, kind):
    before = files(store)
    how(store.local / "squares/points/c/2/0/0/0", kind)
    word = "missing" if kind == "missing" else "damaged"
    with pytest.raises(StoreError, match=rf"s\.zarr: .* `squares/points` .* of frames 8 to 11 is {word}.* --repair`"):
        fresh(store).read("squares", "points")
    assert (fresh(store).read("squares", "points", slice(0, 8))[7] == 49).all(), "what is not damaged can be read"
    assert damages(store) == [f"`squares/points` of frames 8 to 11 is {word}"]
    assert repair(fresh(store)) == ["squares"]
    assert execute(fresh(store), log, chunk=4)[0]
    assert log.read_text().split() == ["2"]
    store.consolidate()
    assert files(store) == before
    assert not damages(store)


@pytest.mark.parametrize("kind", ["missing", "flipped"])
@pytest.mark.parametrize("what", ["squares/joint/c/0", "squares/_engine/done/c/0"])
def test_damaged_labels_and_marks_are_written_again_without_computing(store, log, what, kind):
    before = files(store)
    how(store.local / what, kind)
    with pytest.raises(StoreError, match=rf"`{what.partition('/c/')[0]}` as it was written, but .* is "):
        fresh(store).labels("squares", "joint") if "joint" in what else fresh(store).done("squares")
    assert len(damages(store)) == 1
    assert repair(fresh(store)) == ["squares"]
    assert execute(fresh(store), log, chunk=4)[0]
    assert log.read_text() == ""
    store.consolidate()
    assert files(store) == before


@pytest.mark.parametrize(
    "name",
    ["zarr.json", "squares/zarr.json", "squares/points/zarr.json", "squares/_engine/zarr.json", "_written/zarr.json"],
)
def test_no_bit_of_metadata_changes_unseen(store, log, name):
    """A bit of every seventh byte is changed: it is found, and what is read is refused or the same; then mended."""
    before, path = files(store), store.local / name
    attributes = {group: dict(store.attrs(group)) for group in ("squares", "_written")}
    for each in attributes.values():
        del each["checksums"]
    points = store.read("squares", "points")
    for at in range(0, len(before[name]), 7):
        flip(path, at, at % 8)
        assert damages(store), (at, path.read_bytes())
        now = fresh(store)
        with contextlib.suppress(StoreError):
            read = {group: now.attrs(group) for group in attributes}
            assert {group: {name: read[group].get(name) for name in attributes[group]} for group in read} == attributes
            np.testing.assert_array_equal(now.read("squares", "points"), points)
        path.write_bytes(before[name])
    flip(path, before[name].index(b"zarr_format") + 3)
    repair(fresh(store))
    assert execute(fresh(store), log, chunk=4)[0] == (name == "squares/zarr.json")
    store.consolidate()
    assert parsed(store) == {name: json.loads(text) for name, text in before.items() if name.endswith(".json")}
    assert log.read_text() == ""


def test_metadata_in_another_encoding_is_not_what_was_written(store):
    path = store.local / "squares/points/zarr.json"
    path.write_text(path.read_text(), encoding="utf-16")
    assert any("is not as it was written" in each for each in damages(store))


def test_arrays_without_values_are_whole(tmp_path):
    """An imported session has no views: its arrays along them are empty."""
    session = fitted_session(tmp_path / "s", 4, keypoints=True)
    assert examine(Store(str(session / "session.zarr"))).damages == ()


def test_metadata_of_an_earlier_group_is_not_put_back(store, log):
    """The root's copy is of the last run that was finished. A later one has computed other numbers since."""
    execute(store, log, chunk=4, factor=2.0)
    flip(store.local / "squares/zarr.json", 0)
    log.write_text("")
    repair(store)
    assert store.fingerprint("squares") is None
    execute(store, log, chunk=4, factor=1.0)
    assert len(log.read_text().split()) == 6


def test_what_was_imported_cannot_be_computed_again(store):
    store.set_attrs("squares", imported=["a.json"])
    how(store.local / "squares/points/c/2/0/0/0", "flipped")
    with pytest.raises(StoreError, match=r"group `squares` again, but it was imported and is damaged. Import the same"):
        repair(store)


def test_an_unfinished_group_lacks_nothing(store, log):
    with pytest.raises(SessionError, match="told not to"):
        execute(store, log, chunk=4, factor=3.0, fail_at=2)
    assert not damages(store)
    points = store.read("squares", "points")
    assert (points[7] == 3 * 49).all()
    assert np.isnan(points[8:]).all()
    (store.local / "squares/points/c/1/0/0/0").unlink()
    with pytest.raises(StoreError, match="frames 4 to 7 is missing"):
        store.read("squares", "points")
    assert damages(store) == ["`squares/points` of frames 4 to 7 is missing"]


def test_an_older_store_says_that_it_has_none(store, log):
    as_before_checksums(store)
    examined = examine(store)
    assert examined.damages == ()
    assert examined.without_checksums == ("_written", "squares")
    assert not execute(store, log, chunk=4)[0]
    path = store.local / "squares/points/c/2/0/0/0"
    path.write_bytes(path.read_bytes()[:-3])
    assert damages(store) == ["`squares/points` of frames 8 to 11 is damaged"]
    repair(store)
    assert execute(store, log, chunk=4)[0]
    assert log.read_text().split() == ["2"]


@pytest.mark.parametrize(
    ("shape", "says"),
    [([10**9, 2], "an array of more than 1,000,000 chunks"), ([10**400, 2], "more than 1,000,000 chunks")],
)
def test_an_array_of_too_many_chunks_is_damaged_metadata(store, shape, says):
    """Of an older store, in which nothing else tells that the shape was changed."""
    as_before_checksums(store)
    path = store.local / "squares/votes/zarr.json"
    node = json.loads(path.read_text())
    path.write_text(json.dumps({**node, "shape": shape}))
    (damage,) = [each for each in examine(Store(store.url)).damages if each.node == "votes"]
    assert damage.what.startswith("the metadata of `squares/votes` is no array's (")
    assert says in damage.what
    with pytest.raises(StoreError, match="it is damaged"):
        fresh(store).read("squares", "votes")


def test_cameras_of_another_shape_or_without_an_array_are_damage(tmp_path):
    place = fitted_session(tmp_path / "s", frames=4) / "session.zarr"
    store, path = Store(str(place)), place / "cameras/K/zarr.json"
    assert len(read_cameras(store)) == 3
    shutil.move(place / "cameras/fisheye", tmp_path / "away")
    with pytest.raises(StoreError, match="it is damaged"):
        read_cameras(fresh(store))
    shutil.move(tmp_path / "away", place / "cameras/fisheye")
    as_before_checksums(store)
    path.write_text(json.dumps({**json.loads(path.read_text()), "shape": [3, 3, 2]}))
    with pytest.raises(StoreError, match="expected to read the group `cameras`, but it is damaged"):
        read_cameras(fresh(store))


@pytest.mark.parametrize(("name", "error"), [("view", StoreError), ("K", MemoryError)])
def test_names_that_would_fill_the_memory_are_damage(tmp_path, monkeypatch, name, error):
    def full(*_):
        raise MemoryError

    store = Store(str(fitted_session(tmp_path / "s", frames=4) / "session.zarr"))
    monkeypatch.setattr("zarr.Array.__getitem__", full)
    with pytest.raises(error):
        store.read("cameras", name)


def test_nobody_reads_more_values_than_there_can_be():
    grid = Grid(("frame", "xyz"), (1 << 31, 3), (1 << 20, 3))
    with pytest.raises(ValueError, match="more than 2,147,483,648 values"):
        grid.expect_readable()
    with pytest.raises(ValueError, match="values"):
        grid.expect_readable((slice(0, 1 << 30),))
    grid.expect_readable((slice(5, 100), 2))
    grid.expect_readable(slice(0, 1 << 29))


def test_xarray_reads_through_the_checksums_too(store):
    data = xr.open_zarr(store.zarr_store(), group="squares", consolidated=False)
    assert float(data.points[9, 0, 0, 0]) == 81
    how(store.local / "squares/points/c/2/0/0/0", "missing")
    with pytest.raises(ChunkError, match=r"of frames 8 to 11 is missing"):
        xr.open_zarr(store.zarr_store(), group="squares", consolidated=False).points.load()


def test_attributes_that_are_damaged_are_not_sealed_again(store):
    path = store.local / "squares/zarr.json"
    node = json.loads(path.read_text())
    node["attributes"]["chunk_frames"] = 5
    path.write_text(json.dumps(node))
    with pytest.raises(StoreError, match="not those that were written"):
        store.set_attrs("squares", complete=False)


def test_a_chunk_in_words():
    grid = Grid(("view", "frame", "joint"), (3, 10, 21), (1, 4, 21))
    assert grid.words((1, 2, 0)) == "view 1, frames 8 to 9"
    assert grid.words((1, 2, 0), {"view": ("a", "b", "c")}) == "view b, frames 8 to 9"
    assert list(grid.touched((slice(None, 2), slice(3, 5)))) == [(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 0)]
    assert list(grid.touched((2, -1))) == [(2, 2, 0)]
    assert list(grid.touched(slice(0, 0))) == []
    assert grid.units((1, 2, 0), ("view", "frame")) == (1, 2)
    assert grid.units((1, 2, 0), ("hand", "frame")) == (slice(None), 2)


def test_an_error_from_a_worker_arrives_as_it_is():
    error = ChunkError("s.zarr", "g/a", (1, 2), True, "frames 4 to 7")
    back = pickle.loads(pickle.dumps(error))
    assert str(back) == str(error)
    assert (back.array, back.index, back.missing) == ("g/a", (1, 2), True)
