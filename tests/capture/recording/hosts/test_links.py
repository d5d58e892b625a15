"""The leader and who joins it, in one process: tokens, hostile messages, connections that break."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import suppress

import pytest

from handpipe.capture.recording.camera import RecordingError
from handpipe.capture.recording.hosts.follower import Follower
from handpipe.capture.recording.hosts.leader import TOKEN, Leader
from handpipe.capture.recording.hosts.link import MAX_LINE
from handpipe.capture.recording.hosts.together import Terms

TERMS = Terms("take", 30.0, "software", {})


def leader_of(host="127.0.0.1", others=1, said=None):
    return Leader((host, 0), others, TERMS, ["a"], 2.5, (said if said is not None else []).append)


def started(leader, *followers):
    """Begin on all: when each starts, on this one clock."""
    found = {}
    stops = [threading.Event() for _ in (leader, *followers)]
    threads = [
        threading.Thread(target=lambda at=at, each=each: found.update({at: each.begin(stops[at])}))
        for at, each in enumerate((leader, *followers))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return [found[at] for at in sorted(found)], stops


def test_what_the_leader_prints_is_no_flag(monkeypatch):
    """The shell's user copies it behind --join; one of 64 tokens of `token_urlsafe` begins with a dash."""
    for _ in range(300):
        with leader_of("127.0.0.2") as leader:
            assert leader.address.partition("@")[0].isalnum()
    monkeypatch.setenv(TOKEN, "-secret")
    with pytest.raises(RecordingError, match=f"{TOKEN}: expected a token that does not begin with a dash"):
        leader_of("127.0.0.2")


def test_all_start_and_end_at_one_time():
    said = []
    with leader_of(others=2, said=said) as leader:
        followers = [Follower(leader.address, TERMS, [name]) for name in "bc"]
        with followers[0], followers[1]:
            assert followers[0].duration_s == 2.5
            starts, stops = started(leader, *followers)
            error_s = max(follower.told()["error_s"] for follower in followers)
            assert max(starts) - min(starts) <= 2 * error_s
            assert abs(followers[0].due_s(7.0) - leader.due_s(7.0)) <= 2 * error_s
            ends = {}
            threading.Thread(target=lambda: ends.update(first=followers[0].end())).start()
            # Who ends it asks the leader, which tells all.
            assert stops[0].wait(5)
            ends["leader"] = leader.end()
            assert stops[2].wait(5)
            ends["second"] = followers[1].end()
            while "first" not in ends:
                time.sleep(0.01)
            assert max(ends.values()) - min(ends.values()) <= 2 * error_s
    assert len(said) == 2


def test_other_addresses_than_loopback_need_the_token(monkeypatch):
    with leader_of("0.0.0.0") as leader:
        token, _, place = leader.address.rpartition("@")
        assert len(token) > 16
        port = place.rpartition(":")[2]
        for wrong in (f"127.0.0.1:{port}", f"x@127.0.0.1:{port}"):
            with pytest.raises(RecordingError, match="expected the token"):
                Follower(wrong, TERMS, ["b"])
        with Follower(f"{token}@127.0.0.1:{port}", TERMS, ["b"]) as follower:
            assert follower.id == leader.id
    monkeypatch.setenv(TOKEN, "the same each day")
    with leader_of("0.0.0.0") as leader, Follower(f"127.0.0.1:{leader.port}", TERMS, ["b"]) as follower:
        assert follower.id == leader.id


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n\r\n", b"[]\n", b"x" * (MAX_LINE + 10), b'{"token": ""}\n', b"[" * 60000 + b"\n", b""]
)
def test_a_stranger_is_turned_away(data):
    with leader_of() as leader:
        with socket.create_connection(("127.0.0.1", leader.port), 5) as stranger:
            answer = b""
            with suppress(OSError):  # It was closed before all was read.
                stranger.sendall(data)
                stranger.shutdown(socket.SHUT_WR)
                answer = stranger.recv(4096)
        assert answer == b"" or "failed" in json.loads(answer)
        with Follower(leader.address, TERMS, ["b"]) as follower:
            starts, _ = started(leader, follower)
    assert len(starts) == 2


def test_nothing_is_left_of_a_leader():
    with leader_of() as leader:
        pass
    Leader(("127.0.0.1", leader.port), 1, TERMS, ["a"], None, print).__exit__(None, None)
    until_s = time.monotonic() + 5
    while (left := [each for each in threading.enumerate() if "_accept" in each.name]) and time.monotonic() < until_s:
        time.sleep(0.01)
    assert not left


def test_nobody_leads_there():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(RecordingError, match="expected `handpipe record --leader` there"):
        Follower(f"127.0.0.1:{port}", TERMS, ["b"])
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=lambda: server.accept()[0].sendall(b'{"hello": 1}\n'), daemon=True).start()
        with pytest.raises(RecordingError, match="expected `handpipe record --leader` there"):
            Follower(f"127.0.0.1:{server.getsockname()[1]}", TERMS, ["b"])
    with pytest.raises(RecordingError, match="expected TOKEN@HOST:PORT"):
        Follower("nowhere", TERMS, ["b"])


def test_an_address_that_is_taken_is_named():
    with leader_of() as leader, pytest.raises(RecordingError, match="expected an address of this computer"):
        Leader(("127.0.0.1", leader.port), 1, TERMS, ["a"], None, print)


def test_more_than_are_expected_are_refused():
    with (
        leader_of() as leader,
        Follower(leader.address, TERMS, ["b"]),
        pytest.raises(RecordingError, match="Raise --others"),
    ):
        Follower(leader.address, TERMS, ["c"])


def test_a_computer_that_is_gone_before_the_start_stops_all():
    with leader_of(others=2) as leader:
        with Follower(leader.address, TERMS, ["b"]):
            pass
        with pytest.raises(RecordingError, match="it joined, but it is gone"):
            leader.begin(threading.Event())


def test_a_connection_that_breaks_later_ends_nothing():
    with leader_of() as leader:
        follower = Follower(leader.address, TERMS, ["b"])
        with follower:
            _, stops = started(leader, follower)
        until_s = time.monotonic() + 5
        while not leader.notes and time.monotonic() < until_s:
            time.sleep(0.01)
        assert "goes on by itself" in leader.notes[0]
        assert not stops[0].is_set()
