"""Journals of computers with clocks of their own, made into one session."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from recorded import rows_of

from handpipe.capture.recording.camera import RecordingError
from handpipe.capture.recording.hosts.merging import merge_sessions
from handpipe.core.errors import SessionError

RATE, FRAMES = 20.0, 30
OFFSETS_S = {"one": 0.0, "two": -5000.0}
"""Of the leader's clock from each computer's."""


def clip(path, frames):
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path.with_suffix(".avi")), cv2.VideoWriter.fourcc(*"FFV1"), RATE, (64, 48))
    for n in range(frames):
        writer.write(np.full((48, 64, 3), n, np.uint8))
    writer.release()
    path.with_suffix(".avi").rename(path)


def take_of(folder, host, views, trigger="software", begin_s=100.0, lost=(), last=FRAMES, end_s=None, **record):
    """A take as one computer leaves it: views, and how long after `begin_s` on the leader's clock they begin."""
    take, offset_s = folder / host / "take-001", OFFSETS_S[host]
    (take / ".recording").mkdir(parents=True)
    cameras = {}
    for view, phase_s in views.items():
        lines = ["S,0,0"] * (trigger == "line")
        for n in range(last):
            exposed_s = begin_s + phase_s + n / RATE - offset_s
            instant, given = (str(n), f"{exposed_s:.6f}") if trigger == "software" else ("", "")
            if n in lost:
                lines.append(f"L,0,{n},{instant},1,incomplete buffer")
            else:
                lines.append(f"F,0,{n},{instant},{exposed_s + 2e-3:.6f},{exposed_s + 70:.9f},{given}")
        (take / ".recording" / f"{view}.journal").write_text("\n".join(lines) + "\n")
        clip(take / "videos" / f"{view}.mkv", last - len(lost))
        cameras[view] = {"frames": last - len(lost), "settings": {}}
    clock = [] if host == "one" else [[begin_s - offset_s, offset_s, 1e-3]]
    together = {"id": "aa", "host": host, "leader": host == "one", "clock": clock, "error_s": 1e-3 * (host != "one")}
    said = {
        **{"state": "complete", "kind": "take", "started": "", "trigger": trigger, "rate": RATE, "encoder": {}},
        **{"versions": {}, "cameras": cameras, "together": together, "notes": [f"{host} is warm"], "seconds": 1.5},
        "end_monotonic_s": (begin_s + FRAMES / RATE if end_s is None else end_s) - offset_s,
    }
    (take / "recording.json").write_text(json.dumps(said | record))
    return take


def times_of(take, view):
    return np.array([float(row["frame_time"]) for row in rows_of(take)[view] if row["frame_index"]])


@pytest.mark.parametrize("trigger", ["software", "line", "free-run"])
def test_times_of_all_hosts_are_on_one_clock(tmp_path, trigger):
    takes = [
        take_of(tmp_path, "one", {"a": 0.0, "b": 2e-3}, trigger, lost=[7]),
        take_of(tmp_path, "two", {"c": 1e-3}, trigger),
    ]
    record = merge_sessions(takes, tmp_path / "out")["out"]
    assert record["clock_error_s"] == 1e-3
    assert record["notes"] == ["one: one is warm", "two: two is warm"]
    first = times_of(tmp_path / "out", "a")
    for view, phase_s in (("b", 2e-3), ("c", 1e-3)):
        rows = rows_of(tmp_path / "out")[view]
        kept = {int(row["sync_index"]): float(row["frame_time"]) for row in rows if row["frame_index"]}
        own = rows_of(tmp_path / "out")["a"]
        for row in own:
            if row["frame_index"] and int(row["sync_index"]) in kept:
                apart_s = kept[int(row["sync_index"])] - float(row["frame_time"])
                assert apart_s == pytest.approx(phase_s, abs=2e-4)
    assert [row["missing"] for row in rows_of(tmp_path / "out")["a"]][7] == "incomplete buffer"
    assert len(first) == FRAMES - 1
    assert record["skew"]["error_s"] is None or record["skew"]["error_s"] >= 1e-3


def test_a_host_that_ended_early_has_a_row_for_every_trigger(tmp_path):
    takes = [take_of(tmp_path, "one", {"a": 0.0}), take_of(tmp_path, "two", {"c": 0.0}, last=20)]
    record = merge_sessions(takes, tmp_path / "out")["out"]
    assert record["cameras"]["c"]["missing"] == {"stopped early": FRAMES - 20}
    assert {len(rows) for rows in rows_of(tmp_path / "out").values()} == {FRAMES}


def test_takes_of_several_hosts_in_folders(tmp_path):
    take_of(tmp_path, "one", {"a": 0.0})
    take_of(tmp_path, "two", {"c": 0.0})
    assert list(merge_sessions([tmp_path / "one", tmp_path / "two"], tmp_path / "day")) == ["take-001"]
    assert sorted(path.name for path in (tmp_path / "day" / "take-001" / "videos").iterdir()) == ["a.mkv", "c.mkv"]


def other_recording(folder):
    take_of(folder, "one", {"a": 0.0})
    take = take_of(folder, "two", {"c": 0.0})
    record = json.loads((take / "recording.json").read_text())
    record["together"]["id"] = "bb"
    (take / "recording.json").write_text(json.dumps(record))


def alone(folder):
    take_of(folder, "one", {"a": 0.0})
    take = take_of(folder, "two", {"c": 0.0})
    record = json.loads((take / "recording.json").read_text())
    del record["together"]
    (take / "recording.json").write_text(json.dumps(record))


def no_clock(folder):
    take_of(folder, "one", {"a": 0.0})
    take = take_of(folder, "two", {"c": 0.0})
    record = json.loads((take / "recording.json").read_text())
    record["together"] |= {"leader": False, "clock": []}
    (take / "recording.json").write_text(json.dumps(record))


def same_view(folder):
    take_of(folder, "one", {"a": 0.0})
    take_of(folder, "two", {"a": 0.0})


def apart(folder):
    take_of(folder, "one", {"a": 0.0})
    take_of(folder, "two", {"c": 0.0}, begin_s=200.0)


def no_journal(folder):
    take_of(folder, "one", {"a": 0.0})
    (take_of(folder, "two", {"c": 0.0}) / ".recording" / "c.journal").unlink()


def out_exists(folder):
    same_view(folder)
    (folder / "out" / "x").mkdir(parents=True)


def nothing(folder):
    take_of(folder, "one", {"a": 0.0})
    (folder / "two" / "take-001").mkdir(parents=True)


REFUSED = {
    "another recording": (other_recording, "but it is another one"),
    "recorded alone": (alone, "it was recorded alone"),
    "no measurement of the clock": (no_clock, "expected measurements of the leader's clock .* found none"),
    "same view": (same_view, "but a is also in"),
    "not overlapping": (apart, "expected it to overlap"),
    "no journal": (no_journal, "expected the journal of this camera"),
    "out exists": (out_exists, "expected a folder that does not exist yet"),
    "no take": (nothing, "there are none"),
}


@pytest.mark.parametrize(("make", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_merged_says_why_and_leaves_nothing(tmp_path, make, said):
    make(tmp_path)
    takes: list[Path] = [tmp_path / host / "take-001" for host in ("one", "two")]
    with pytest.raises(RecordingError, match=said) as caught:
        merge_sessions(takes, tmp_path / "out")
    assert str(caught.value).endswith(".")
    assert not list(tmp_path.glob("out/*.json"))
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    "together", [5, {}, {"id": "a", "host": "b", "leader": False, "clock": [[1.0]], "error_s": 0.0}]
)
def test_a_damaged_clock_is_refused(tmp_path, together):
    take = take_of(tmp_path, "two", {"c": 0.0})
    record = json.loads((take / "recording.json").read_text())
    (take / "recording.json").write_text(json.dumps(record | {"together": together}))
    with pytest.raises(SessionError, match=r"cannot be read \(together"):
        merge_sessions([take_of(tmp_path, "one", {"a": 0.0}), take], tmp_path / "out")


def test_one_folder_or_a_take_that_a_host_lacks_is_named(tmp_path):
    with pytest.raises(RecordingError, match="expected the folders of two computers"):
        merge_sessions([tmp_path], tmp_path / "out")
    other_recording(tmp_path)
    with pytest.raises(RecordingError, match="has none of it"):
        merge_sessions([tmp_path / "one", tmp_path / "two"], tmp_path / "out")
