"""The lock of a folder: one process at a time, gone with its process, a sentence where there is none."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import threading
import time

import pytest

from handpipe.core.errors import StoreError
from handpipe.core.storage import lock
from handpipe.core.storage.lock import claimed, locked

HOLDER = """
import sys
from pathlib import Path
from handpipe.core.storage import lock
lock.LOCKS_FOLDERS = sys.argv[2] == "True"
with lock.locked(Path(sys.argv[1]), wait=False):
    print("in", flush=True)
    input()
"""


def holder(folder, locks_folders=True):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), str(locks_folders)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "in\n"
    return process


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "s.zarr").mkdir()
    return tmp_path / "s.zarr"


@pytest.mark.parametrize("locks_folders", [True, False], ids=["folder", "file beside it, as on Windows"])
def test_another_process_is_kept_out_until_this_one_dies(folder, monkeypatch, locks_folders):
    monkeypatch.setattr(lock, "LOCKS_FOLDERS", locks_folders)
    other = holder(folder, locks_folders)
    with pytest.raises(StoreError, match="but another handpipe is"), locked(folder, wait=False):
        pass
    other.kill()
    other.communicate()
    with locked(folder, wait=False):
        assert list(folder.iterdir()) == [], "nothing is written into the folder"
    beside = [] if locks_folders else [".s.zarr.lock"]
    assert sorted(path.name for path in folder.parent.iterdir()) == sorted([*beside, "s.zarr"])


def test_who_waits_gets_it_when_it_is_free(folder):
    other = holder(folder)
    subprocess.Popen(["/bin/sh", "-c", f"sleep 0.3; kill -9 {other.pid}"])
    start = time.monotonic()
    with locked(folder, wait=True):
        assert time.monotonic() - start > 0.1
    other.communicate()


def test_it_is_the_lock_that_older_versions_take(folder):
    """flock of the folder itself."""
    handle = os.open(folder, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(StoreError, match="but another handpipe is"), locked(folder, wait=False):
        pass
    os.close(handle)
    with locked(folder, wait=False):
        handle = os.open(folder, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(handle)


def test_a_folder_that_may_only_be_read_can_be_locked(folder):
    folder.chmod(0o500)
    with locked(folder, wait=False):
        pass


@pytest.mark.parametrize("wait", [True, False])
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_a_sentence(folder, monkeypatch, number, wait):
    """And no lock of another kind in its place."""

    def refuses(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuses)
    with (
        pytest.raises(
            StoreError, match=rf"s\.zarr: expected a file system with locks.*{os.strerror(number)}.*local disk"
        ),
        locked(folder, wait=wait),
    ):
        pass
    assert [path.name for path in folder.parent.iterdir()] == ["s.zarr"]
    assert list(folder.iterdir()) == []


CLAIMER = """
import sys
from pathlib import Path
from handpipe.core.storage.lock import claimed
with claimed(Path(sys.argv[1])):
    print("in", flush=True)
    input()
"""


def claimer(out):
    process = subprocess.Popen(
        [sys.executable, "-c", CLAIMER, str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "in\n"
    return process


@pytest.mark.parametrize("killed", [True, False])
def test_what_another_process_makes_is_claimed_until_it_ends(tmp_path, killed):
    out = tmp_path / "new" / "s.zarr"
    other = claimer(out)
    with (
        pytest.raises(StoreError, match=r"s\.zarr: expected nobody else to write there, but another handpipe"),
        claimed(out),
    ):
        pytest.fail("two at once")
    with claimed(out.with_name("t.zarr")):
        assert not out.exists()
    if killed:
        other.kill()
    other.communicate("\n")
    with claimed(out):
        pass
    assert list(out.parent.iterdir()) == []


def test_a_claim_ends_with_an_error(tmp_path):
    with pytest.raises(RuntimeError), claimed(tmp_path / "out"):
        raise RuntimeError
    with claimed(tmp_path / "out"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_of_many_that_start_at_once_one_works_at_a_time(tmp_path):
    """Removing the claim must not let two in, one with the old file and one with the new."""
    inside, most, turns, gate = [0], [0], [0], threading.Barrier(8)

    def work():
        gate.wait()
        for _ in range(60):
            try:
                with claimed(tmp_path / "out"):
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    time.sleep(0.0005)
                    turns[0] += 1
                    inside[0] -= 1
            except StoreError:
                time.sleep(0.0003)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert turns[0] > 8


def test_without_locks_there_is_no_claim(tmp_path, monkeypatch):
    def refuses(*_):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", refuses)
    with claimed(tmp_path / "out"), claimed(tmp_path / "out"):
        pass
