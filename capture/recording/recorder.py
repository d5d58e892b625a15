"""A recording: all cameras start or none does, until somebody stops it; then the account is made."""

# Ring 2: reads and writes.

from __future__ import annotations

import math
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from ...core.errors import DiskError
from .camera import CameraError, CameraGone, RecordingError, one_sentence
from .channel import TOO_SLOW, Channel, Status
from .clip_file import ClipFile
from .closing import finish, this_process
from .hosts.together import Together
from .journal import SUFFIX, Journal
from .machine import peak_memory_mb, undisturbed, versions
from .opening import Opened, images_each
from .place import Place, check_disk
from .record import write_record

LOOK_S = 0.25
"""Between two looks at the state of a recording."""

FLUSH_S = 1.0
"""What was written reaches the disk's own memory after this, at the latest: a power failure costs no more."""

LAST_S = 2.0
"""Frames that were triggered have this long to arrive after the end."""

READY_SHARE = 0.5
"""Share of the time between two triggers in which cameras may become ready for the next."""

CLOCK_STEP_S = 0.05
"""A jump of the computer's clock that is worth a word. The account does not use that clock."""

Watch = Callable[[Sequence[Status], float], None]
"""(cameras, free bytes on the disk), called a few times per second."""


class Recording:
    """One recording from start to end."""

    def __init__(
        self, opened: Opened, place: Place, session: Mapping[str, Any], together: Together | None = None
    ) -> None:
        """Create the files. Nothing is recorded yet.

        Args:
            opened: the cameras.
            place: where it goes.
            session: settings for the take's session.yaml.
            together: other computers that record with this one.

        Raises:
            RecordingError: disk, memory or encoder do not suffice.
        """
        self.opened, self.place, self.rig, self.together = opened, place, opened.rig, together
        check_disk(place.root.parent, self.rig, opened.formats)
        rooms = images_each(self.rig, opened.formats)
        place.create(session)
        self.channels: list[Channel] = []
        try:
            for name, camera in opened.cameras.items():
                clip = ClipFile(place.clip(name), opened.formats[name], self.rig.encoder)
                journal = Journal(place.work / f"{name}{SUFFIX}")
                self.channels.append(Channel(name, camera, opened.formats[name], clip, journal, rooms[name]))
        except (RecordingError, OSError):
            place.discard()
            raise
        self.stop = threading.Event()
        """Set it to end the recording."""
        self.asking = threading.Lock()
        """Held by who asks for images, until they are there."""
        self.notes: list[str] = []
        self._instants = 0
        self._trigger_s: list[float] = []
        self._halt = threading.Event()
        """Set when the end is reached: no trigger follows."""
        self._end_s = math.inf
        self._ended = threading.Event()
        self.record: dict[str, Any] = {}

    def run(self, watch: Watch) -> dict[str, Any]:
        """Record until `stop` is set, the length is reached, all sources have ended or the disk is nearly full.

        Returns:
            What recording.json says.

        Raises:
            RecordingError: a camera did not start. Then nothing is left behind.
        """
        with undisturbed():
            began_s = self._record(watch)
        return self._close(began_s)

    def _record(self, watch: Watch) -> float:
        """Start, record, and stop; returns when it began."""
        began_s = self._start()
        wall_s = time.time() - time.monotonic() + began_s
        keeper = threading.Thread(target=self._keep, daemon=True)
        trigger = threading.Thread(target=self._trigger, args=(began_s,), daemon=True)
        keeper.start()
        if self.rig.trigger == "software":
            trigger.start()
        try:
            while not self.stop.wait(LOOK_S):
                self._look(began_s, wall_s, watch)
        finally:
            self.stop.set()
            if self.together is not None:
                # All computers end at the same time: until then, cameras are triggered.
                self._end_s = self.together.end()
                time.sleep(max(self._end_s - time.monotonic(), 0.0))
            self._halt.set()
            if self.rig.trigger == "software":
                trigger.join()
            self._end(began_s)
            self._ended.set()
            keeper.join()
        return began_s

    def ask(self) -> None:
        """Let every channel put an image of the same moment into its `sample`, soon."""
        # Half a period before a time that is to come: each camera's frame that is nearest to it.
        from_s = time.monotonic() + 0.5 / self.rig.rate
        for channel in self.channels:
            channel.ask(self._instants + 1, from_s)

    def _start(self) -> float:
        """Arm all cameras, and wait until each is known to deliver. Returns when the recording starts."""
        self.record = self._first_record()
        write_record(self.place, self.record)
        problems: dict[str, str] = {}
        for channel in self.channels:
            try:
                channel.camera.arm()
            except (CameraError, CameraGone) as error:
                problems[channel.name] = str(error)
        for channel in self.channels:
            channel.start()
        if self.rig.trigger == "free-run" and not problems:
            until_s = time.monotonic() + self.rig.start_timeout_s
            for channel in self.channels:
                if not channel.arrived.wait(max(until_s - time.monotonic(), 0)):
                    problems[channel.name] = (
                        f"expected a first frame within {self.rig.start_timeout_s:g} s, but none arrived. Check its "
                        "cable and its settings, or raise `start_timeout_s`."
                    )
        try:
            if problems:
                raise RecordingError(one_sentence(problems))
            at_s = time.monotonic() if self.together is None else self.together.begin(self.stop)
        except RecordingError:
            self._abort()
            raise
        timed = self.rig.trigger != "software" and self.rig.duration_s is not None
        end_s = at_s + (self.rig.duration_s or 0.0) if timed else math.inf
        for channel in self.channels:
            first_id = 0 if self.rig.trigger == "line" and not channel.arrived.is_set() else None
            channel.begin(at_s, first_id, end_s)
        if self.together is not None:
            self.record["together"] = self.together.told()
            write_record(self.place, self.record)
        return at_s

    def _abort(self) -> None:
        for channel in self.channels:
            channel.stop(0.0)
        for channel in self.channels:
            channel.join()
        self.place.discard()

    def _trigger(self, began_s: float) -> None:
        """Trigger all cameras at the rate; what is too late by whole periods is entered as missing."""
        # Asking a camera whether it is ready takes a millisecond, so that 50 are asked at the same time.
        with ThreadPoolExecutor(len(self.channels), "ready") as pool:
            self._trigger_until_end(began_s, pool)
        self.stop.set()

    def _trigger_until_end(self, began_s: float, pool: ThreadPoolExecutor) -> None:
        period_s = 1 / self.rig.rate
        most = None if self.rig.duration_s is None else max(round(self.rig.duration_s * self.rig.rate), 1)
        while most is None or self._instants < most:
            since_s = self._instants * period_s
            due_s = began_s + since_s if self.together is None else self.together.due_s(since_s)
            if self._halt.wait(max(due_s - time.monotonic(), 0)) or due_s >= self._end_s:
                break
            late = int((time.monotonic() - due_s) / period_s)
            for _ in range(late if most is None else min(late, most - self._instants - 1)):
                for channel in self.channels:
                    channel.skip(self._instants, TOO_SLOW)
                self._instants += 1
            # All are waited for before the first is triggered: one that is slow does not delay the others behind it.
            until_s = began_s + (self._instants + READY_SHARE) * period_s
            ready = list(pool.map(lambda channel, until_s=until_s: channel.ready(until_s), self.channels))
            both = zip(self.channels, ready, strict=True)
            taken = [channel.trigger(self._instants, each) for channel, each in both]
            self._trigger_s += [each[1] - each[0] for each in taken if each is not None]
            del self._trigger_s[:-100_000]
            self._instants += 1
            if all(channel.ended for channel in self.channels):
                break

    def _look(self, began_s: float, wall_s: float, watch: Watch) -> None:
        now_s = time.monotonic()
        free = shutil.disk_usage(self.place.root).free
        watch([channel.status() for channel in self.channels], free)
        if free < 1e9 * self.rig.keep_free_gb:
            self.notes.append(f"the recording ended because the disk has {free / 1e9:.1f} GB left (`keep_free_gb`)")
            self.stop.set()
        timed = self.rig.trigger != "software" and self.rig.duration_s is not None
        if timed and now_s - began_s >= (self.rig.duration_s or 0.0):
            self.stop.set()
        if all(channel.ended for channel in self.channels):
            self.stop.set()
        before_s, now_wall_s = time.monotonic(), time.time()
        step_s = (now_wall_s - wall_s) - (before_s - began_s)
        read_at_once = time.monotonic() - before_s < CLOCK_STEP_S / 2  # On a busy machine time passes in between.
        if read_at_once and abs(step_s - self.record.get("clock_step_s", 0.0)) > CLOCK_STEP_S:
            self.record["clock_step_s"] = step_s
            self.notes.append(f"the computer's clock was set by {step_s:+.3f} s; the times of frames do not use it")

    def _keep(self) -> None:
        """See to it that what was written survives a power failure."""
        while not self._ended.wait(FLUSH_S):
            for channel in self.channels:
                with suppress(OSError):  # The thread that writes meets it too, and says so.
                    channel.clip.flush_to_disk()

    def _end(self, began_s: float) -> None:
        """Let frames that were triggered arrive, then stop every camera at the same time."""
        if self.rig.trigger == "software":
            until_s = time.monotonic() + LAST_S
            while time.monotonic() < until_s and any(channel.pending() for channel in self.channels):
                time.sleep(0.01)
        end_s = time.monotonic()
        if self.rig.trigger != "software" and self.rig.duration_s is not None:
            end_s = min(end_s, began_s + self.rig.duration_s)
        if self.rig.trigger != "software":
            end_s = min(end_s, self._end_s)
        self.record["end_monotonic_s"] = end_s
        for channel in self.channels:
            channel.stop(end_s)

    def _close(self, began_s: float) -> dict[str, Any]:
        for channel in self.channels:
            channel.join()
            if not channel.arrived.is_set():
                signal = " and the signal at its input" if self.rig.trigger == "line" else ""
                self.notes.append(f"{channel.name}: no frame arrived; check its cable{signal}")
        if self.together is not None:
            self.notes += self.together.notes
            self.record["together"] = self.together.told()
        self.record |= {
            "seconds": self.record["end_monotonic_s"] - began_s,
            "notes": [*self.notes, *(note for channel in self.channels for note in channel.notes)],
            "peak_memory_mb": peak_memory_mb(),
            "trigger_error_s": sum(self._trigger_s) / len(self._trigger_s) / 2 if self._trigger_s else None,
        }
        for channel in self.channels:
            self.record["cameras"][channel.name] |= {
                "bytes": channel.clip.bytes,
                "queue_most": channel.queue.most,
            }
        try:
            return finish(self.place, self.record, "complete", {each.name: each.clip.safe for each in self.channels})
        except DiskError as error:
            raise RecordingError(
                f"{self.place.root}: expected room for timestamps.csv, but the disk is full. The recording is kept: "
                f"free some space, and `handpipe doctor {self.place.root}` then completes it."
            ) from error

    def _first_record(self) -> dict[str, Any]:
        formats = self.opened.formats
        return {
            "state": "recording",
            "kind": self.place.kind,
            "process": this_process(),
            "started": datetime.now(UTC).isoformat(),
            "trigger": self.rig.trigger,
            "rate": self.rig.rate,
            "encoder": asdict(self.rig.encoder),
            "versions": versions(),
            "cameras": {
                channel.name: {
                    "backend": formats[channel.name].info.backend,
                    "serial": formats[channel.name].info.serial,
                    "model": formats[channel.name].info.model,
                    "size_px": list(formats[channel.name].size_px),
                    "pixels": formats[channel.name].pixels,
                    "settings": dict(formats[channel.name].settings),
                    "queue": channel.queue.capacity,
                }
                for channel in self.channels
            },
        }
