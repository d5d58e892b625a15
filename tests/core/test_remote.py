"""Results in S3: the same as in a folder, with few requests."""

from __future__ import annotations

import json
import pickle
from urllib.request import Request, urlopen

import numpy as np
import pytest
from fsspec import url_to_fs
from moto.server import ThreadedMotoServer
from toy_stage import FRAMES, execute

from handpipe.core.errors import StoreError
from handpipe.core.storage.opened_arrays import States
from handpipe.core.storage.store import Store


@pytest.fixture(scope="module")
def address():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def store(address, monkeypatch):
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in {**keys, "AWS_ENDPOINT_URL": address}.items():
        monkeypatch.setenv(name, value)
    with (
        urlopen(Request(f"{address}/moto-api/reset", method="POST")),
        urlopen(Request(f"{address}/bucket", method="PUT")),
    ):
        pass
    files, _ = url_to_fs("s3://bucket")
    files.invalidate_cache()
    store = Store("s3://bucket/s.zarr")
    store.open()
    return store


@pytest.mark.parametrize("workers", [0, 1])
def test_results_are_those_of_a_folder(store, tmp_path, workers):
    log = tmp_path / "log"
    assert execute(store, log, workers=workers)[0]
    assert not execute(store, log, workers=workers)[0]
    assert (store.read("squares", "points")[:, 0, 0, 0] == np.arange(FRAMES) ** 2).all()
    assert execute(store, log, workers=workers, factor=2.0)[0], "a group of the same arrays takes its place"
    assert (store.read("squares", "points")[:, 0, 0, 0] == 2 * np.arange(FRAMES) ** 2).all()


def test_a_store_sent_to_a_task_asks_once_for_what_does_not_change(store, tmp_path, monkeypatch):
    execute(store, tmp_path / "log")
    sent = pickle.loads(pickle.dumps(store))
    asked = []
    ask = Store.bytes_of
    monkeypatch.setattr(Store, "bytes_of", lambda self, key: asked.append(key) or ask(self, key))
    for _ in range(3):
        for name in ("member", "points", "votes"):
            sent.read("squares", name, slice(0, 1))
            assert sent.attrs("squares")["complete"]
    assert asked.count("squares/zarr.json") == 1
    assert len(asked) <= 1 + 1 + 3, "the root, the group, and its arrays unless this process has opened them before"


@pytest.fixture
def asked(monkeypatch):
    """Files that were asked for, one by one."""
    names, ask = [], Store.bytes_of
    monkeypatch.setattr(Store, "bytes_of", lambda self, key: names.append(key) or ask(self, key))
    return names


def test_the_only_writer_asks_once_for_metadata(store, tmp_path, asked):
    with store.metadata_kept():
        execute(store, tmp_path / "log")
        assert "squares/zarr.json" not in asked, "it was not there, then made"
        asked.clear()
        store.set_attrs("squares", fps=30.0)
        assert store.attrs("squares")["fps"] == 30.0
        assert store.read("squares", "points")[1, 0, 0, 0] == 1
        store.remove("squares")
        assert not store.attrs("squares")
        assert asked == ["squares/zarr.json"], "after it was removed"
        store.set_attrs("_notes/of/workers", found=1)
        Store(store.url).set_attrs("_notes/of/workers", found=2)
        assert store.attrs("_notes/of/workers")["found"] == 2, "what workers may write is looked at each time"
    store.set_attrs("squares", fps=1.0)
    Store(store.url).set_attrs("squares", fps=2.0)
    assert store.attrs("squares")["fps"] == 2.0


def test_tasks_of_a_worker_ask_once_for_a_state_of_the_metadata(store, tmp_path, asked):
    with store.metadata_kept():
        execute(store, tmp_path / "log")
        before = [pickle.dumps(store) for _ in range(3)]
        store.set_attrs("squares", fps=30.0)
        after = [pickle.dumps(store) for _ in range(3)]
        asked.clear()
        States.seen.clear()  # As in another process.
        for sent in before:
            assert pickle.loads(sent).attrs("squares")["complete"]
        assert asked == ["squares/zarr.json"]
        for sent in after:
            assert pickle.loads(sent).attrs("squares")["fps"] == 30.0
        assert asked == 2 * ["squares/zarr.json"]


def test_what_could_not_be_written_is_not_known(store, tmp_path, monkeypatch):
    with store.metadata_kept():
        execute(store, tmp_path / "log")
        files, _ = store._elsewhere()
        with monkeypatch.context() as patch:
            patch.setattr(files, "pipe_file", lambda *_: (_ for _ in ()).throw(OSError("gone")))
            with pytest.raises(OSError, match="gone"):
                store.set_attrs("squares", fps=30.0)
        Store(store.url).set_attrs("squares", fps=25.0)
        assert store.attrs("squares")["fps"] == 25.0


def test_arrays_are_written_and_read_together(store, tmp_path):
    execute(store, tmp_path / "log")
    found = store.read_each("squares", ("votes", "member", "points"), slice(0, 4))
    assert list(found) == ["votes", "member", "points"]
    for name, values in found.items():
        np.testing.assert_array_equal(values, store.read("squares", name, slice(0, 4)))
    with pytest.raises(StoreError, match="expected in the attribute `unit_dims` the axes"):
        store.write_blocks("squares", (0,), {name: values[:1] for name, values in found.items()})


def test_a_changed_chunk_and_changed_metadata_are_noticed(store, tmp_path):
    execute(store, tmp_path / "log")
    store.read("squares", "points")
    good = store.bytes_of("squares/points/c/1/0/0/0")
    assert good is not None
    store.put("squares/points/c/1/0/0/0", good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(StoreError, match="frames 4 to 7"):
        store.read("squares", "points")
    node = json.loads(store.bytes_of("squares/zarr.json") or b"")
    node["attributes"]["fps"] = 1
    store.put("squares/zarr.json", json.dumps(node).encode())
    with pytest.raises(StoreError, match="its attributes are not those that were written"):
        store.read("squares", "points")
