"""Files and folders that appear whole: modes, crashes at every step, what is swept up."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from handpipe.core.errors import DiskError
from handpipe.core.storage import atomic
from handpipe.core.storage.atomic import appearing, sweep, write_whole


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def hidden(out: Path, process: int, machine: str | None = None) -> Path:
    return out.with_name(f".{out.name}.{machine or atomic._machine()}-{process}-00000000.partial")


def dead_process() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_text_and_bytes_are_written_and_replaced(tmp_path):
    path = tmp_path / "sub" / "[é] *.txt"
    write_whole(path, "ä\n")
    assert path.read_bytes() == b"\xc3\xa4\n"
    write_whole(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert names(path.parent) == [path.name]


@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077])
def test_a_file_has_the_mode_that_the_user_gives_new_files(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_whole(tmp_path / "a", "a")
        with appearing(tmp_path / "folder") as place:
            place.mkdir()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666 & ~mask
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o777 & ~mask


def make(place: Path, kind: str, content: str) -> None:
    if kind == "folder":
        place.mkdir()
        place = place / "x"
    place.write_text(content)


def content_of(out: Path) -> str:
    return (out / "x" if out.is_dir() else out).read_text()


@pytest.mark.parametrize("new", ["file", "folder"])
@pytest.mark.parametrize("old", ["file", "folder"])
def test_anything_replaces_anything(tmp_path, old, new):
    out = tmp_path / "out"
    for kind, content in ((old, "old"), (new, "new")):
        with appearing(out) as place:
            make(place, kind, content)
    assert content_of(out) == "new"
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_fails_leaves_the_old_one_and_nothing_else(tmp_path, kind):
    out = tmp_path / "out"
    with appearing(out) as place:
        make(place, kind, "old")

    def writes_half_and_stops():
        with appearing(out) as place:
            make(place, kind, "half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        writes_half_and_stops()
    assert content_of(out) == "old"
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_full_disk_is_a_sentence_that_names_the_target(tmp_path, kind, monkeypatch):
    out = tmp_path / "out"

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskError, match=rf"^{out}: expected room to write"), appearing(out) as place:
        make(place, kind, "new")
    assert names(tmp_path) == []


def test_everything_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    done, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (done.append(os.fstat(handle).st_ino), fsync(handle)))
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append("named"), replace(a, b)))
    with appearing(tmp_path / "out") as place:
        (place / "sub").mkdir(parents=True)
        (place / "sub" / "file").write_text("x")
    before, after = done[: done.index("named")], done[done.index("named") + 1 :]
    assert set(before) == {path.stat().st_ino for path in (tmp_path / "out", *(tmp_path / "out").rglob("*"))}
    assert after == [tmp_path.stat().st_ino]


KILLED_AT = """
import os, signal, sys
from pathlib import Path
from handpipe.core.storage.atomic import appearing
out, kind, nth, changes = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), 0
def count(event, args):
    global changes
    if event in ("os.rename", "os.remove", "os.rmdir", "os.mkdir"):
        changes += 1
        if changes == nth:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(count)
with appearing(out) as place:
    if kind == "folder":
        place.mkdir()
        place = place / "x"
    place.write_text("new")
"""


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_killed_before_any_change_it_is_the_old_one_or_the_new_after_the_sweep(tmp_path, kind):
    """SIGKILL before the n-th change of the file system, for every n."""
    seen, nth = [], 0
    while True:
        nth += 1
        out = tmp_path / str(nth) / "out"
        with appearing(out) as place:
            make(place, kind, "old")
        done = subprocess.run([sys.executable, "-c", KILLED_AT, str(out), kind, str(nth)], check=False)
        if kind == "file":
            assert out.exists(), "a file is never away"
        sweep(out.parent)
        assert names(out.parent) == ["out"]
        seen.append(content_of(out))
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
    assert seen == sorted(seen, reverse=True), "first the old one, then the new"
    assert {*seen} == {"old", "new"}
    assert nth > 3


def test_only_what_nobody_works_on_is_swept_up(tmp_path):
    out, dead = tmp_path / "out", dead_process()
    mine, killed = hidden(out, os.getpid()), hidden(out, dead)
    elsewhere, long_ago = hidden(out, dead, "0123abcd"), hidden(out, dead, "0123abce")
    other = hidden(tmp_path / "other", dead)
    for left in (mine, killed, elsewhere, long_ago, other):
        left.mkdir()
        (left / "half").touch()
    before = time.time() - 2 * atomic.OTHERS_S
    for path in (long_ago / "half", long_ago):
        os.utime(path, (before, before))
    (tmp_path / ".out.notes.partial").touch()
    write_whole(out, "x")
    assert names(tmp_path) == sorted([mine.name, elsewhere.name, other.name, ".out.notes.partial", "out"])
    sweep(tmp_path)
    assert names(tmp_path) == sorted([mine.name, elsewhere.name, ".out.notes.partial", "out"])
