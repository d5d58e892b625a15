"""Rigs on several computers: two processes, and two network namespaces with clocks of their own, make one session."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import yaml
from recorded import film, rig_of_clips, rig_of_emulated, rows_of, write_rig

from handpipe.capture.session import read_session
from handpipe.capture.settings import CaptureSettings
from handpipe.capture.video import read_frames
from handpipe.cli import main
from handpipe.commands.recording import Record
from handpipe.core.errors import ConfigError
from handpipe.screen import Screen
from handpipe.settings import Config

RATE = 10.0
FRAMES = 15


def rig_of_host(folder, names, **settings):
    """A host's folder with its rig.yaml: clips of 40 frames in which a frame's number can be read."""
    folder.mkdir(parents=True, exist_ok=True)
    cameras = {name: {"source": str(path)} for name, path in film(folder / "source", names).items()}
    rig = {
        **{"rate": RATE, "encoder": {"codec": "ffv1"}, "keep_free_gb": 0.0, "queue_mb": 16.0},
        **{"defaults": {"backend": "file"}, "cameras": cameras, **settings},
    }
    return write_rig(folder, rig)


def recording(folder, rig, *flags, inside=(), **environment):
    """`handpipe record` of a host, in a process of its own."""
    command = [*inside, sys.executable, "-m", "handpipe", "record", folder / "day", "--config", rig, *flags, "--json"]
    return subprocess.Popen(
        [str(each) for each in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def address_from(leader):
    """What the leader says to join with."""
    for line in leader.stderr:
        if "--join" in line:
            return line.split("--join ")[1].strip(" `\n")
    raise AssertionError(f"the leader ended with {leader.wait()}")


def ended(*processes):
    """The figures of each. Where one fails, what all have said is shown."""

    def wait(process):
        try:
            return process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.communicate()

    with ThreadPoolExecutor(len(processes)) as pool:
        out, said = zip(*pool.map(wait, processes), strict=True)
    assert not any(process.returncode for process in processes), "\n".join(said)
    return [json.loads(each) for each in out]


def merged(tmp_path, capsys, *words):
    capsys.readouterr()
    assert main(["merge", str(words[-1]), *map(str, words[:-1]), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def numbers_of(take):
    """By view: the picture that each instant shows, None where it is missing."""
    found = {}
    for clip in read_session(take, CaptureSettings()).clips:
        shown = [round(float(image.mean()) / 2) for image in read_frames(clip, range(clip.frames))]
        rows = rows_of(take)[clip.view]
        found[clip.view] = [shown[int(row["frame_index"])] if row["frame_index"] else None for row in rows]
    return found


def check_one_session(take, views, figures, apart=0.4):
    """All views are there, with a row for every instant, in which their times are not further apart, in periods."""
    assert sorted(figures["cameras"]) == sorted(views)
    session = read_session(take, CaptureSettings())
    assert [clip.view for clip in session.clips] == sorted(views)
    assert not session.warnings
    assert not session.ignored
    rows = rows_of(take)
    # The end may cut the last instant off where the cameras are not triggered.
    assert {len(each) for each in rows.values()} <= {figures["instants"], figures["instants"] - (apart > 1)}
    late = {at for each in rows.values() for at, row in enumerate(each) if row["missing"]}
    shortest = min(map(len, rows.values()))
    times = np.array([[float(row["frame_time"]) for row in each[:shortest]] for each in rows.values()])
    kept = [at for at in range(len(times[0])) if at not in late]
    assert len(kept) >= FRAMES // 2
    assert np.ptp(times[:, kept], axis=0).max() < apart / RATE
    np.testing.assert_allclose(np.diff(times[0]), 1 / RATE, atol=0.5 / RATE)


def test_two_processes_record_one_session(tmp_path, capsys):
    hosts = {name: rig_of_host(tmp_path / name, views) for name, views in (("one", "ab"), ("two", "cd"))}
    leader = recording(tmp_path / "one", hosts["one"], "--leader", "127.0.0.1:0", "--duration-s", FRAMES / RATE)
    follower = recording(tmp_path / "two", hosts["two"], "--join", address_from(leader))
    first, second = ended(leader, follower)
    assert first["together"]["id"] == second["together"]["id"]
    assert first["instants"] == second["instants"] == FRAMES
    assert second["together"]["error_s"] < 0.05
    # Both processes have one clock: the offset that was measured is its own error.
    for _, offset_s, error_s in second["together"]["clock"]:
        assert abs(offset_s) <= error_s
    out = tmp_path / "day"
    figures = merged(tmp_path, capsys, tmp_path / "one" / "day", tmp_path / "two" / "day", out)
    check_one_session(out / "take-001", "abcd", figures["recordings"]["take-001"])
    numbers = numbers_of(out / "take-001")
    both = [at for at in range(FRAMES) if all(numbers[view][at] is not None for view in "abcd")]
    assert [numbers["a"][at] for at in both] == [numbers["b"][at] for at in both]
    # Clips are linked, not copied, and the recordings of the hosts stay as they were.
    linked = (tmp_path / "one" / "day" / "take-001" / "videos" / "a.mkv").stat()
    assert (out / "take-001" / "videos" / "a.mkv").stat().st_ino == linked.st_ino


def test_the_board_is_recorded_and_merged_with_the_takes(tmp_path, capsys):
    hosts = {name: rig_of_host(tmp_path / name, views) for name, views in (("one", "a"), ("two", "b"))}
    for kind in (("--calibration",), ()):
        leader = recording(tmp_path / "one", hosts["one"], "--leader", "127.0.0.1:0", "--duration-s", 0.5, *kind)
        follower = recording(tmp_path / "two", hosts["two"], "--join", address_from(leader), *kind)
        ended(leader, follower)
    lens = Record(session=tmp_path / "two" / "day", rig=hosts["two"], intrinsics="b", duration_s=0.2)
    lens.execute(Config(), Screen())
    out = tmp_path / "day"
    figures = merged(tmp_path, capsys, tmp_path / "one" / "day", tmp_path / "two" / "day", out)
    assert sorted(figures["recordings"]) == ["calibration", "take-001"]
    session = read_session(out / "take-001", CaptureSettings())
    assert sorted(session.board_clips) == ["a", "b"]
    assert list(session.lens_clips) == ["b"]
    assert session.board_timeline.timestamps


def test_a_host_that_ends_the_take_ends_it_for_all(tmp_path):
    hosts = {name: rig_of_host(tmp_path / name, views) for name, views in (("one", "a"), ("two", "b"))}
    leader = recording(tmp_path / "one", hosts["one"], "--leader", "127.0.0.1:0")
    follower = recording(tmp_path / "two", hosts["two"], "--join", address_from(leader))
    journal = tmp_path / "two" / "day" / "take-001" / ".recording" / "b.journal"
    while not (journal.exists() and journal.stat().st_size):
        assert follower.poll() is None
        time.sleep(0.02)
    follower.terminate()
    first, second = ended(leader, follower)
    assert first["instants"] == second["instants"]
    assert not first["notes"]


def test_cameras_that_cannot_start_stop_all_hosts(tmp_path):
    hosts = {
        "one": rig_of_host(tmp_path / "one", "a"),
        "two": rig_of_host(tmp_path / "two", "b", encoder={"codec": "h269"}),
    }
    leader = recording(tmp_path / "one", hosts["one"], "--leader", "127.0.0.1:0")
    follower = recording(tmp_path / "two", hosts["two"], "--join", address_from(leader))
    for process in (leader, follower):
        _, said = process.communicate(timeout=60)
        assert process.returncode == 2
        assert "'h269' cannot be used" in " ".join(said.split())
    assert not list(tmp_path.glob("*/day/take-*"))


REFUSED = {
    "same view": ({}, "a", "cameras.a: expected names that no other computer uses"),
    "other rate": ({"rate": 20.0}, "b", "expected the same rate as on the leader (10.0), but found 20.0"),
    "other board": ({"session": {"board": {"columns": 9}}}, "b", "expected the same session as on the leader"),
}


@pytest.mark.parametrize(("settings", "views", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_hosts_that_do_not_fit_are_refused(tmp_path, settings, views, said):
    leader = recording(tmp_path / "one", rig_of_host(tmp_path / "one", "a"), "--leader", "127.0.0.1:0")
    try:
        rig = rig_of_host(tmp_path / "two", views, **settings)
        follower = recording(tmp_path / "two", rig, "--join", address_from(leader))
        _, told = follower.communicate(timeout=60)
        assert follower.returncode == 2
        assert said in " ".join(told.split())
        assert leader.poll() is None
    finally:
        leader.terminate()
        _, told = leader.communicate(timeout=60)
    assert leader.returncode == 2
    assert "it was ended before they had" in " ".join(told.split())
    assert not list(tmp_path.glob("*/day/take-*"))


FLAGS = {
    "both": ({"leader": "127.0.0.1:0", "join": "127.0.0.1:1"}, "expected it without --join"),
    "a lens": ({"leader": "127.0.0.1:0", "intrinsics": "a"}, "a lens is filmed by one computer"),
    "then": ({"leader": "127.0.0.1:0", "then": "run"}, "`handpipe merge` the takes first"),
    "length": ({"join": "127.0.0.1:1", "duration_s": 1.0}, "the leader says how long it is"),
    "nobody": ({"leader": "127.0.0.1:0", "others": 0}, "expected 1 or more"),
    "address": ({"leader": "here"}, "expected ADDRESS:PORT"),
}


@pytest.mark.parametrize(("flags", "said"), FLAGS.values(), ids=FLAGS.keys())
def test_flags_that_do_not_go_together_are_named(tmp_path, flags, said):
    rig = write_rig(tmp_path, rig_of_clips(tmp_path))
    with pytest.raises(ConfigError, match=said):
        Record(session=tmp_path / "day", rig=rig, **flags).execute(Config(), Screen())


def sh(*words):
    return subprocess.run(words, capture_output=True, text=True)


@pytest.fixture
def namespaces():
    """What runs a command in two network namespaces that see each other."""
    if shutil.which("ip") is None:
        pytest.skip("the command `ip` is not installed (apt-get install iproute2)")
    names = [f"handpipe{os.getpid()}{end}" for end in "ab"]
    made = [sh("ip", "netns", "add", name) for name in names]
    try:
        if any(each.returncode for each in made):
            pytest.skip(f"network namespaces are not permitted here ({made[0].stderr.strip()})")
        link = [f"hp{os.getpid() % 10**8}{end}" for end in "ab"]
        commands = [["ip", "link", "add", link[0], "type", "veth", "peer", "name", link[1]]]
        for at, name in enumerate(names):
            commands += [
                ["ip", "link", "set", link[at], "netns", name],
                ["ip", "-n", name, "addr", "add", f"10.199.7.{at + 1}/24", "dev", link[at]],
                ["ip", "-n", name, "link", "set", link[at], "up"],
                ["ip", "-n", name, "link", "set", "lo", "up"],
            ]
        for command in commands:
            done = sh(*command)
            if done.returncode:
                pytest.skip(f"virtual network devices are not permitted here ({done.stderr.strip()})")
        yield [("ip", "netns", "exec", name) for name in names]
    finally:
        for name in names:
            sh("ip", "netns", "del", name)


@pytest.mark.parametrize("trigger", ["software", "free-run"])
def test_two_network_namespaces_record_one_session(tmp_path, capsys, namespaces, trigger):
    later = ("unshare", "--time", "--monotonic", "5000", "--fork")
    ahead_s = 5000.0 if sh(*later, "true").returncode == 0 else 0.0
    first, second = namespaces[0], (*namespaces[1], *(later if ahead_s else ()))
    hosts = {}
    for at, (name, views) in enumerate((("one", "ab"), ("two", "cd"))):
        (tmp_path / name).mkdir()
        serials = {view: {"serial": f"0815-{2 * at + n:04}"} for n, view in enumerate(views)}
        hosts[name] = write_rig(tmp_path / name, rig_of_emulated(trigger=trigger, rate=RATE) | {"cameras": serials})
    leader = recording(
        tmp_path / "one", hosts["one"], "--leader", "10.199.7.1:0", "--duration-s", FRAMES / RATE, inside=first
    )
    address = address_from(leader)
    assert "@10.199.7.1:" in address
    refused = recording(tmp_path / "two", hosts["two"], "--join", address.partition("@")[2], inside=second)
    assert "expected the token that the leader printed" in " ".join(refused.communicate(timeout=60)[1].split())
    assert refused.returncode == 2
    follower = recording(tmp_path / "two", hosts["two"], "--join", address, inside=second)
    clock = ended(leader, follower)[1]["together"]["clock"]
    for _, offset_s, error_s in clock:
        assert abs(offset_s + ahead_s) <= error_s < 0.05
    out = tmp_path / "take"
    takes = [tmp_path / name / "day" / "take-001" for name in ("one", "two")]
    figures = merged(tmp_path, capsys, *takes, out)["recordings"]["take"]
    # Cameras that run free have each a beginning of their own.
    check_one_session(out, "abcd", figures, apart=0.4 if trigger == "software" else 1.1)
    assert figures["clock_error_s"] == pytest.approx(max(error for *_, error in clock), abs=1e-6)
    assert yaml.safe_load((out / "recording.json").read_text())["hosts"].keys() == figures["hosts"].keys()
