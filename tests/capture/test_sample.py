"""Frames by seeking: the same images as by decoding in order."""

from __future__ import annotations

import av
import cv2
import numpy as np
import pytest
from clips import write

from handpipe.capture.sample import sample_frames
from handpipe.capture.video import DamagedClip, probe, read_frames


def encoded(path, codec, **options):
    """40 frames of moving noise."""
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (12, 16, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for n in range(40):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(np.roll(picture, 5 * n, 1)))))
        file.mux(stream.encode())
    return probe(path)


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "mpeg4", {"g": "12"}),
        ("b.mp4", "libx264", {"g": "10", "bf": "2"}),
        ("c.mkv", "libx264", {"g": "250"}),
        ("d.avi", "mpeg4", {"g": "12", "bf": "2"}),
    ],
)
def test_sought_frames_are_those_that_are_decoded_in_order(tmp_path, name, codec, options):
    clip = encoded(tmp_path / name, codec, **options)
    for wanted in ([0, 1, 17, 30, 39], [25], list(range(40))):
        for sought, image in zip(sample_frames(clip, wanted), read_frames(clip, wanted), strict=True):
            assert np.array_equal(sought, image)


def test_luminance_is_that_of_the_image(tmp_path):
    clip = probe(write(tmp_path / "a.mp4"))
    (gray,), (image,) = (list(sample_frames(clip, [6], form)) for form in ("gray", "bgr24"))
    assert gray.shape == image.shape[:2]
    assert np.abs(gray.astype(int) - cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)).max() <= 2


def test_a_frame_that_cannot_be_decoded_is_named(tmp_path):
    clip = encoded(tmp_path / "a.mp4", "libx264", g="10", bf="0")
    with av.open(str(clip.path)) as file:
        places = [(packet.pos, packet.size) for packet in file.demux(file.streams.video[0]) if packet.size]
    content = bytearray(clip.path.read_bytes())
    for at, size in places[20:]:
        assert at is not None
        content[at : at + size] = b"\xff" * size
    clip.path.write_bytes(content)
    with pytest.raises(DamagedClip, match="frame 39 cannot be decoded"):
        list(sample_frames(clip, [3, 39]))
