"""What images tell: blur of edges, repeated frames, and how late one row of numbers is against another."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from handpipe.doctor.images import doubled, edge_blur_px, lag


@pytest.mark.parametrize("blur_px", [1.5, 2.0, 4.0])
@pytest.mark.parametrize("contrast", [40, 200])
def test_the_blur_of_an_edge_is_measured_whatever_its_contrast(blur_px, contrast):
    image = np.full((240, 320), 20, np.uint8)
    image[60:180, 80:240] += np.uint8(contrast)
    found = edge_blur_px(cv2.GaussianBlur(image, (0, 0), blur_px))
    assert found == pytest.approx(blur_px, rel=0.2)


def test_an_image_without_edges_has_no_blur():
    assert np.isnan(edge_blur_px(np.full((64, 64), 9, np.uint8)))


def test_frames_that_repeat_stand_out_of_motion_and_not_of_rest():
    assert doubled(np.array([1.0, 0.01, 1.2, 0.9, 0.0, 1.0])).tolist() == [False, True, False, False, True, False]
    assert not doubled(np.array([0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0])).any(), "hands that rest and start to move"
    assert not doubled(np.array([0.1, 0.001, 0.1])).any(), "too little motion to say"
    assert not doubled(np.zeros(1)).any()


@pytest.mark.parametrize("shift", [-6, 0, 4])
def test_a_signal_that_is_late_is_found_late(rng, shift):
    whole = np.convolve(rng.normal(size=120), np.ones(5), "same")
    early, late = whole[20:100], whole[20 - shift : 100 - shift]
    found, best, without = lag(late, early, 15)
    assert found == shift
    assert best == pytest.approx(1)
    assert without < 0.9 or shift == 0
