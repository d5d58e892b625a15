"""Clips that can be read at every moment, without loss where the codec has none."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest

from handpipe.capture.recording.camera import CameraInfo, Format, RecordingError
from handpipe.capture.recording.clip_file import ClipFile, mend
from handpipe.capture.recording.settings import EncoderSettings
from handpipe.capture.video import probe, read_frames

SIZE = (64, 48)


def source(pixels="bgr24", size=SIZE, rate=30.0):
    return Format(size, pixels, rate, CameraInfo("test", "1"))


def images(rng, count, channels=3):
    shape = (SIZE[1], SIZE[0], 3) if channels == 3 else SIZE[::-1]
    # Smooth, as pictures are: lossy codecs are not made for noise.
    ramp = np.linspace(0, 120, SIZE[0])[:, None] if channels == 3 else np.linspace(0, 120, SIZE[0])
    return [np.clip(ramp + 4 * n + rng.integers(0, 3, shape), 0, 255).astype(np.uint8) for n in range(count)]


def decoded(path):
    clip = probe(path)
    return clip, list(read_frames(clip, range(clip.frames)))


@pytest.mark.parametrize(("pixels", "channels"), [("bgr24", 3), ("gray", 1), ("rgb24", 3)])
def test_ffv1_keeps_every_bit(tmp_path, rng, pixels, channels):
    clip = ClipFile(tmp_path / "c.mkv", source(pixels), EncoderSettings(codec="ffv1"))
    filmed = images(rng, 12, channels)
    for image in filmed:
        clip.write(image)
    clip.close()
    _, found = decoded(clip.path)
    for image, back in zip(filmed, found, strict=True):
        expected = image[..., ::-1] if pixels == "rgb24" else image if channels == 3 else np.dstack([image] * 3)
        np.testing.assert_array_equal(back, expected)


@pytest.mark.parametrize("codec", ["h264", "hevc", "mjpeg"])
@pytest.mark.parametrize(("pixels", "channels"), [("bgr24", 3), ("gray", 1), ("bayer_rggb8", 1)])
def test_the_others_keep_the_picture(tmp_path, rng, codec, pixels, channels):
    clip = ClipFile(tmp_path / "c.mkv", source(pixels, rate=15.0), EncoderSettings(codec=codec))
    filmed = images(rng, 20, channels)
    for image in filmed:
        clip.write(image)
    clip.close()
    found, back = decoded(clip.path)
    assert (found.frames, found.fps, found.size_px) == (20, 15.0, SIZE)
    assert not found.uneven_s
    gray = [image.mean() for image in filmed]
    assert np.abs(np.array(gray) - [image.mean() for image in back]).max() < 4


@pytest.mark.parametrize("codec", ["h264", "ffv1", "mjpeg"])
def test_a_clip_that_was_never_closed_is_read_up_to_its_last_piece(tmp_path, rng, codec):
    clip = ClipFile(tmp_path / "c.mkv", source(), EncoderSettings(codec=codec))
    for image in images(rng, 60):
        clip.write(image)
    assert clip.safe >= 60 - 15
    left = tmp_path / "left.mkv"
    left.write_bytes(clip.path.read_bytes()[:-3])
    assert mend(left) >= clip.safe - 1
    found, back = decoded(left)
    assert len(back) == found.frames >= clip.safe - 1
    clip.close()
    assert clip.safe == probe(clip.path).frames == 60


@pytest.mark.parametrize("codec", ["h264", "hevc", "ffv1", "mjpeg"])
def test_nothing_of_a_clip_is_lost_however_short_it_is(tmp_path, rng, codec):
    """A demuxer does not know the order of decoding of a few frames."""
    clip = ClipFile(tmp_path / "c.mkv", source(rate=10.0), EncoderSettings(codec=codec))
    safe = 0
    for image in images(rng, 24):
        clip.write(image)
        if clip.safe > safe:
            safe, left = clip.safe, tmp_path / f"{clip.safe}.mkv"
            left.write_bytes(clip.path.read_bytes())
            assert mend(left) >= safe
            found, back = decoded(left)
            assert len(back) == found.frames >= safe
    assert safe >= 16
    clip.close()


def test_a_full_disk_leaves_what_was_written(tmp_path, rng, monkeypatch):
    clip = ClipFile(tmp_path / "c.mkv", source(), EncoderSettings(codec="ffv1"))
    filmed = images(rng, 100)
    for image in filmed[:50]:
        clip.write(image)
    before, write = clip.safe, os.write

    def full(handle, data):
        write(handle, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        [clip.write(image) for image in filmed[50:]]
    monkeypatch.undo()
    clip.abandon()
    assert mend(clip.path) == clip.safe == before
    _, back = decoded(clip.path)
    np.testing.assert_array_equal(back, filmed[:before])


@pytest.mark.parametrize(
    ("codec", "size"), [("h265x", SIZE), ("h264", (63, 48)), ("aac", SIZE)], ids=["unknown", "odd", "sound"]
)
def test_an_encoder_that_cannot_be_used_leaves_no_file(tmp_path, codec, size):
    with pytest.raises(RecordingError, match=f"'{codec}' cannot be used"):
        ClipFile(tmp_path / "c.mkv", source(size=size), EncoderSettings(codec=codec))
    assert not list(tmp_path.iterdir())
