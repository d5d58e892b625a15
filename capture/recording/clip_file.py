"""A clip that grows on the disk while it is recorded: at every moment the file on the disk can be read to its end.

Matroska, in clusters of 0.4 s that are written whole. A process that is killed loses the cluster that it was filling.
"""

# Ring 2: reads and writes.

from __future__ import annotations

import os
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
from av.error import FFmpegError
from av.video.stream import VideoStream
from numpy import ndarray

from ...core.errors import SessionError
from ...core.storage.atomic import appearing
from .camera import Format, RecordingError
from .settings import EncoderSettings

SUFFIX = ".mkv"

CLUSTER_MS = 400
"""Length of a cluster: what is lost at the most when the process is killed."""

ENCODERS: Mapping[str, str] = {"h264": "libx264", "hevc": "libx265", "mjpeg": "mjpeg", "ffv1": "ffv1"}
"""Names in rig.yaml, and FFmpeg's encoders."""

QUALITY: Mapping[str, int] = {"libx264": 18, "libx265": 18, "mjpeg": 3}

MOSAICS: Mapping[str, int] = {
    "bayer_rggb8": cv2.COLOR_BayerRGGB2BGR,
    "bayer_bggr8": cv2.COLOR_BayerBGGR2BGR,
    "bayer_gbrg8": cv2.COLOR_BayerGBRG2BGR,
    "bayer_grbg8": cv2.COLOR_BayerGRBG2BGR,
}
"""Images with a colour filter, which are made colour images before they are encoded."""


class _Sink:
    """The file that FFmpeg writes to: complete pieces are handed on together, so that no half is on the disk."""

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o644)
        self._pending = bytearray()
        self._end = 0
        """Where the pending bytes belong."""
        self.bytes = 0
        """Size of the file on the disk."""
        self._closed = False

    def write(self, data: bytes) -> int:
        # FFmpeg writes an end to what was abandoned, too.
        if not self._closed:
            self._pending += data
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        self.commit()
        self._end = {0: 0, 1: self._end, 2: self.bytes}[whence] + offset
        return self._end

    def tell(self) -> int:
        return self._end + len(self._pending)

    def commit(self) -> bool:
        """Write what is pending; False if nothing is. A piece that does not fit on the disk is taken back whole."""
        if not self._pending or self._closed:
            return False
        view = memoryview(bytes(self._pending))
        self._pending.clear()
        try:
            os.lseek(self._handle, self._end, os.SEEK_SET)
            while view:
                view = view[os.write(self._handle, view) :]
        except OSError:
            os.ftruncate(self._handle, self.bytes)
            raise
        self._end = os.lseek(self._handle, 0, os.SEEK_CUR)
        self.bytes = max(self.bytes, self._end)
        return True

    def flush_to_disk(self) -> None:
        """Wait until all that was committed would survive a power failure."""
        os.fsync(self._handle)

    def close(self) -> None:
        self._closed = True
        os.close(self._handle)


class ClipFile:
    """One camera's clip."""

    def __init__(self, path: Path, source: Format, settings: EncoderSettings) -> None:
        """Create the file.

        Raises:
            RecordingError: FFmpeg has no such encoder, or it does not take these images.
            OSError: the file exists, or cannot be created.
        """
        self.path, self.pixels = path, source.pixels
        self._sink = _Sink(path)
        self._step = Fraction(1) / Fraction(source.rate).limit_denominator(1001)
        try:
            # Flushing gives us a cluster as soon as it is complete.
            options = {"cluster_time_limit": str(CLUSTER_MS), "flush_packets": "1"}
            self._container = av.open(self._sink, "w", format="matroska", container_options=options)
            self._stream = _stream(self._container, source, settings, 1 / self._step)
            self._stream.codec_context.open()
        except (FFmpegError, ValueError, TypeError) as error:
            self._sink.close()
            path.unlink()
            raise RecordingError(
                f"encoder.codec: expected an encoder for images of {source.size_px[0]}x{source.size_px[1]}, but "
                f"'{settings.codec}' cannot be used ({error}). Use h264, hevc, mjpeg or ffv1, and even sizes for the "
                "first two."
            ) from error
        self.encoded = 0
        """Frames that were given to it."""
        self.safe = 0
        """Frames that are in the file on the disk."""
        self._packets = 0

    @property
    def bytes(self) -> int:
        """Size on the disk."""
        return self._sink.bytes

    def write(self, image: ndarray) -> None:
        """Encode a frame. Raises OSError when the disk does not take it; the file then ends with the frames before."""
        if (mosaic := MOSAICS.get(self.pixels)) is not None:
            image = cv2.cvtColor(image, mosaic)
        frame = av.VideoFrame.from_ndarray(image, format="bgr24" if mosaic is not None else self.pixels)
        frame.pts, frame.time_base = self.encoded, self._step
        self.encoded += 1
        for packet in self._stream.encode(frame):
            self._container.mux(packet)
            self._packets += 1
            if self._sink.commit():
                # The first bytes are the header; a cluster is written when the first frame of the next one arrives.
                self.safe = self._packets - 1

    def flush_to_disk(self) -> None:
        """Wait until what was written would survive a power failure."""
        self._sink.flush_to_disk()

    def close(self) -> None:
        """Write the last cluster, the index and the length."""
        try:
            for packet in self._stream.encode(None):
                self._container.mux(packet)
            self._container.close()
            self._sink.commit()
            self.safe = self.encoded
            self._sink.flush_to_disk()
        finally:
            self._sink.close()

    def abandon(self) -> None:
        """Leave the file as it is on the disk, after an error."""
        self._sink.close()


def _stream(container: Any, source: Format, settings: EncoderSettings, rate: Fraction) -> VideoStream:
    name = ENCODERS.get(settings.codec, settings.codec)
    options: dict[str, str] = {}
    if name in ("libx264", "libx265"):
        quality = QUALITY[name] if settings.quality is None else settings.quality
        options = {"preset": settings.preset, "tune": "zerolatency", "crf": str(quality)}
        if name == "libx265":
            options["x265-params"] = "log-level=none:pools=none:frame-threads=1"
    elif name == "mjpeg":
        quality = QUALITY[name] if settings.quality is None else settings.quality
        options = {"qmin": str(max(quality, 1)), "qmax": str(max(quality, 1))}
    stream = container.add_stream(name, rate=rate, options=options)
    stream.width, stream.height = source.size_px
    stream.pix_fmt = pixels_of(name, source.pixels)
    stream.time_base = 1 / rate
    # One thread for each camera: the cameras are the parallelism.
    stream.codec_context.thread_count = 1
    stream.codec_context.max_b_frames = 0  # Frames are encoded in the order of their times.
    stream.codec_context.gop_size = max(round(settings.keyframe_s * float(rate)), 1)
    return stream


def pixels_of(encoder: str, source: str) -> str:
    """Pixel format that an encoder gets: exactly the camera's for a lossless one."""
    if encoder == "ffv1":
        return "gray" if source == "gray" else "bgr0"
    return "yuvj420p" if encoder == "mjpeg" else "yuv420p"


def mend(path: Path) -> int:
    """Give the clip of a process that was killed an end and an index; returns its number of frames.

    Nothing is encoded again. A file without a frame, or none at all, stays as it is.

    Raises:
        SessionError: the file is damaged.
    """
    try:
        return _with_index(path) if _has_frames(path) else 0
    except (FFmpegError, ValueError) as error:  # Texts in the file are decoded, which may fail too.
        raise SessionError(
            f"{path}: expected a clip as `handpipe record` writes it, but it is damaged ({error}). Restore it, or "
            "remove it to use the other cameras."
        ) from error


def _with_index(path: Path) -> int:
    with appearing(path) as place, av.open(str(path.absolute())) as source:
        stream = source.streams.video[0]
        frames = 0
        with av.open(str(place.absolute()), "w", format="matroska") as target:
            copy = target.add_stream_from_template(stream)
            for packet in source.demux(stream):
                if packet.size:
                    # A clip of a few frames does not tell the demuxer their order of decoding: it is that of the times.
                    packet.dts = packet.pts if packet.dts is None else packet.dts
                    packet.stream = copy
                    target.mux(packet)
                    frames += 1
    return frames


def _has_frames(path: Path) -> bool:
    """Whether the first piece of a clip was written."""
    try:
        with av.open(str(path.absolute())) as source:
            return any(packet.size for packet in source.demux(video=0))
    except (FFmpegError, IndexError):
        return False
