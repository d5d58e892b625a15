"""A lease: one writer at a time where locks do not reach, taken over from who is gone. Real processes, real signals."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from handpipe.core.errors import StoreError
from handpipe.core.storage import lease
from handpipe.core.storage.lease import leased
from handpipe.core.storage.store import Store

QUICK = {"BEAT_S": 0.2, "STALE_S": 3.0, "LOOK_S": 0.05}

HOLDER = f"""
import fcntl, os, signal, sys
from handpipe.core.storage import lease
signal.signal(signal.SIGINT, signal.SIG_IGN if "ignores SIGINT" in sys.argv else signal.default_int_handler)
for name, value in {QUICK}.items():
    setattr(lease, name, value)
def refuses(*_):
    raise OSError(37, "no locks")
match sys.argv[2]:
    case "none":
        fcntl.flock = refuses
    case "no effect":
        fcntl.flock = lambda *_: None
    case "elsewhere":
        fcntl.flock = refuses
        lease.this_machine = lambda: "another"
from handpipe.core.errors import StoreError
from handpipe.core.storage.store import Store
try:
    with Store(sys.argv[1]).lock(print):
        print("in", flush=True)
        for line in sys.stdin:
            pass
except StoreError as error:
    print(error, flush=True)
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    for name, value in QUICK.items():
        monkeypatch.setattr(lease, name, value)


@pytest.fixture
def store(tmp_path):
    store = Store(str(tmp_path / "s.zarr"))
    store.open()
    return store


@pytest.fixture
def holder(store):
    processes = []

    def start(locks: str, *words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLDER, store.url, locks, *words]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "in\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def no_locks(monkeypatch, how="none"):
    def refuses(*_):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", refuses if how == "none" else lambda *_: None)


def leases(store):
    return [path.name for path in store.local.iterdir() if path.name.startswith(lease.PREFIX)]


@pytest.mark.parametrize("how", ["none", "no effect"])
def test_who_is_alive_keeps_others_out_whatever_the_clock_says(store, holder, monkeypatch, how):
    other = holder(how)
    no_locks(monkeypatch, how)
    steps = itertools.cycle([0.0, 1e9, -1e9])
    true = time.time
    monkeypatch.setattr(time, "time", lambda: true() + next(steps))
    for _ in range(2):
        with (
            pytest.raises(StoreError, match=rf"alone at work .* \(process {other.pid} on .*\)\. Wait until"),
            store.lock(print),
        ):
            pytest.fail("two at once")
    assert len(leases(store)) == 1
    other.communicate("")
    with store.lock(print):
        assert len(leases(store)) == 1
    assert leases(store) == []


def test_who_was_killed_here_is_not_waited_for(store, holder, monkeypatch):
    other = holder("none")
    other.kill()
    other.communicate()
    assert len(leases(store)) == 1
    no_locks(monkeypatch)
    monkeypatch.setattr(lease, "STALE_S", 60.0)
    start = time.monotonic()
    with store.lock(print):
        assert time.monotonic() - start < 10
        assert len(leases(store)) == 1


def test_who_was_killed_elsewhere_is_waited_for_with_a_word(store, holder, monkeypatch):
    other = holder("elsewhere")
    other.kill()
    other.communicate()
    no_locks(monkeypatch)
    said, start = [], time.monotonic()
    with store.lock(said.append):
        assert time.monotonic() - start > QUICK["STALE_S"]
    (line,) = said
    assert f"another handpipe was at work on it (process {other.pid} on " in line
    assert "a sign that it still is" in line


@pytest.mark.parametrize("words", [[], ["ignores SIGINT"]], ids=["", "in the background of a script"])
def test_who_stood_still_for_too_long_is_interrupted(store, holder, monkeypatch, words):
    other = holder("none", *words)
    other.send_signal(signal.SIGSTOP)
    no_locks(monkeypatch)
    with store.lock(print):
        other.send_signal(signal.SIGCONT)
        assert other.stdout.readline().endswith("another handpipe has taken over. Wait until that is done, then run "
                                                "the same command again.\n")  # fmt: skip
        other.wait(10)
        assert len(leases(store)) == 1


def test_who_stood_still_between_looking_and_writing_is_interrupted(store, monkeypatch):
    """It would write again what somebody has taken away, and find it there from then on."""
    clock, there = [0.0], lease._Lease.there

    def slow(self):
        found = there(self)
        clock[0] += 1000
        return found

    monkeypatch.setattr(lease, "_now_s", lambda: clock[0])

    def work():
        with leased(store.url, print):
            monkeypatch.setattr(lease._Lease, "there", slow)
            time.sleep(10)
            pytest.fail("it went on")

    with pytest.raises(StoreError, match="another handpipe has taken over"):
        work()
    assert leases(store) == []


def test_of_many_that_begin_at_once_one_gets_in(store, monkeypatch):
    inside, most, turns, gate = [0], [0], [0], threading.Barrier(6)

    def work():
        for _ in range(4):
            gate.wait()
            try:
                with leased(store.url, lambda _: None):
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    time.sleep(0.4)
                    turns[0] += 1
                    inside[0] -= 1
            except StoreError:
                pass

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert turns[0] >= 4, "in every round somebody"
    assert leases(store) == []


def test_a_disk_of_this_machine_needs_no_lease(store):
    with store.lock(print):
        assert leases(store) == []


def test_a_disk_that_other_machines_may_write_to_is_leased_too(store, monkeypatch):
    real = psutil.disk_partitions(all=True)
    mine = type(real[0])("server:/data", str(store.local.parent), "nfs4", "rw")
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: [*real, mine])
    with store.lock(print):
        assert len(leases(store)) == 1


def test_a_store_that_is_no_folder_is_leased():
    store = Store("memory://leased/s.zarr")
    store.open()
    with store.lock(print), pytest.raises(StoreError, match="alone at work"), store.lock(print):
        pytest.fail("two at once")
    with store.lock(print):
        pass


def test_where_nobody_may_write_nothing_is_written(store, tmp_path, monkeypatch):
    no_locks(monkeypatch)
    mount = subprocess.run(["mount", "--bind", "-o", "ro", store.url, store.url], check=False, capture_output=True)
    if mount.returncode != 0:
        pytest.skip("mounting read-only needs root and the mount permission")
    try:
        with pytest.raises(OSError, match="Read-only"):
            (store.local / "x").touch()
        with store.lock(print):
            assert leases(store) == []
    finally:
        subprocess.run(["umount", store.url], check=True)


def test_another_space_of_process_numbers_is_another_machine():
    """Two containers may have one host name; in each the other's processes look dead."""
    code = "from handpipe.core.storage.lease import this_machine; print(this_machine())"
    command = ["unshare", "--fork", "--pid", sys.executable, "-c", code]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode != 0:
        pytest.skip("a space of process numbers needs root")
    assert found.stdout.strip() != lease.this_machine()
    assert found.stdout.split()[0] == lease.this_machine().split()[0] == os.uname().nodename


def test_a_killed_write_of_metadata_is_cleaned_up(store):
    left = store.local / ".zarr.json.00000000-1-00000000.partial"
    left.mkdir()
    (left / "zarr.json").touch()
    store.clean()
    assert not left.exists()


STRANGERS = [
    b"",
    b"\xff\xfe",
    b"[" * 100_000,
    b'"text"',
    b'{"host": "a", "machine": "b", "process": 1}',
    b'{"host": "a", "machine": "b", "process": 1, "state": "sleeps"}',
    b'{"host": "a", "machine": "b", "process": "1", "state": "wants"}',
    b'{"host": "a", "machine": "b", "process": 99999999999999999999, "state": "wants"}',
    b'{"host": 7, "machine": "b", "process": 1, "state": "wants"}',
]


def test_a_lease_that_no_handpipe_wrote_is_waited_for_and_taken_away(store):
    for number, content in enumerate(STRANGERS):
        (store.local / f"{lease.PREFIX}stranger{number}").write_bytes(content)
    said = []
    with leased(store.url, said.append):
        assert not list(store.local.glob(f"{lease.PREFIX}stranger*"))
    assert "its process is not known" in said[0]
