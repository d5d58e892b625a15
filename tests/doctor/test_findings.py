"""A rule's sentence as reason and remedy."""

from __future__ import annotations

import pytest

from handpipe.doctor.findings import listed, told


@pytest.mark.parametrize(
    ("message", "reason", "remedy"),
    [
        (
            "a/b.mp4: expected a clip, but the file is empty. Copy it again. Or remove it.",
            "a/b.mp4: expected a clip, but the file is empty.",
            "Copy it again. Or remove it.",
        ),
        (
            "expected a calibration for c1, but the board was found in 2 frames; show it to this camera for longer",
            "expected a calibration for c1, but the board was found in 2 frames.",
            "Show it to this camera for longer.",
        ),
        ("v. 2/x.csv: expected 3, but found 4.5. Correct it.", "v. 2/x.csv: expected 3, but found 4.5.", "Correct it."),
        ("the clip is short", "the clip is short", ""),
    ],
)
def test_a_message_is_parted_after_what_was_found(message, reason, remedy):
    check = told("clips", "error", message, "c1")
    assert (check.reason, check.remedy, check.view, check.severity) == (reason, remedy, "c1", "error")


def test_many_views_are_listed_by_size():
    assert listed({"a": 1.0, "b": 3.0, "c": 2.0}, ".0f", 2) == "b 3, c 2 and 1 more"
