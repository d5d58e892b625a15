"""MediaPipe's networks on PyTorch: the same outputs, batched; and the way from palms to hands."""

from __future__ import annotations

import zipfile

import cv2
import numpy as np
import pytest
import torch
from golden_recording import filmed
from hypothesis import given, settings
from hypothesis import strategies as st

from handpipe.capture.detector import MediaPipeDetector, NearDetector
from handpipe.capture.installed import find_detector, make_detector
from handpipe.capture.mediapipe.bundle import LANDMARKS, PALMS, resolve
from handpipe.capture.mediapipe.graph import Network
from handpipe.capture.mediapipe.palms import SIDE_PX, anchors, hand_region, input_matrix, palms
from handpipe.capture.mediapipe.torch_detector import TorchMediaPipe
from handpipe.capture.settings import DetectionSettings
from handpipe.capture.video import read_frames
from handpipe.core.errors import ModelError


@pytest.mark.parametrize("member", [PALMS, LANDMARKS])
def test_outputs_are_those_of_the_runtime_that_the_networks_are_made_for(member):
    from ai_edge_litert.interpreter import Interpreter

    with zipfile.ZipFile(resolve()) as bundle:
        content = bundle.read(member)
    network, reference = Network(content, member), Interpreter(model_content=content, num_threads=1)
    reference.allocate_tensors()
    image = cv2.resize(next(read_frames(filmed().clips[0], [0])), network.shape[1::-1]).astype(np.float32) / 255
    images = np.stack([image, np.random.default_rng(0).random(network.shape, np.float32)])
    with torch.inference_mode():
        batch = network(torch.from_numpy(images))
    for at, each in enumerate(images):
        reference.set_tensor(reference.get_input_details()[0]["index"], each[None])
        reference.invoke()
        for output in reference.get_output_details():
            expected = reference.get_tensor(output["index"])[0]
            np.testing.assert_allclose(batch[output["name"]][at].numpy(), expected, atol=1e-3, rtol=1e-4)


def test_anchors_are_two_in_each_fine_cell_and_six_in_each_coarse_one():
    found = anchors()
    assert found.shape == (24 * 24 * 2 + 12 * 12 * 6, 2)
    np.testing.assert_allclose(found[:4], [[1 / 48, 1 / 48], [1 / 48, 1 / 48], [3 / 48, 1 / 48], [3 / 48, 1 / 48]])
    np.testing.assert_allclose(found[24 * 24 * 2 + 6], [3 / 24, 1 / 24])
    np.testing.assert_allclose(found[-1], [23 / 24, 23 / 24])


def test_boxes_of_one_palm_are_averaged_and_the_surest_comes_first():
    raw, odds = np.zeros((2016, 18)), np.full(2016, -50.0)
    raw[:, 2:4] = 48.0
    # Two boxes about one anchor, 4 pixels apart and equally sure; a third elsewhere that is surer; a fourth too unsure.
    odds[[0, 1]], odds[-1], odds[1000] = 0.0, 3.0, -1.5
    raw[1, 0] = 4.0
    found = palms(raw, odds, 0.3, 2)
    assert len(found) == 2
    np.testing.assert_allclose(found[0, :2].mean(0), [23 / 24, 23 / 24])
    np.testing.assert_allclose(SIDE_PX * found[1, :2].mean(0), [SIDE_PX / 48 + 2, SIDE_PX / 48])
    np.testing.assert_allclose(SIDE_PX * (found[1, 1] - found[1, 0]), [48, 48])
    assert len(palms(raw, odds, 0.3, 1)) == 1
    assert len(palms(raw, odds, 0.99, 2)) == 0


@settings(max_examples=30, deadline=None, derandomize=True)
@given(angle=st.floats(-3.1, 3.1), zoom=st.floats(0.3, 4))
def test_a_palm_lies_in_its_region_the_same_however_it_is_turned(angle, zoom):
    points = np.array([[0, 60], [-20, 0], [0.0, 0], [15, 3], [30, 10], [-20, 50], [-35, 40]])
    turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = points @ turn.T + [200, 100]
    middle = turn @ [0, 30] + [200, 100]
    corners = middle + zoom * np.array([[-40.0, -40], [40, 40]])  # The network's boxes are square and upright.
    M = hand_region(np.concatenate([corners, moved]), 224)
    seen = moved @ M[:, :2].T + M[:, 2]
    np.testing.assert_allclose(seen[0, 0], seen[2, 0], err_msg="the middle finger is above the wrist", atol=1e-6)
    assert seen[2, 1] < seen[0, 1]
    side = 224 / (2.6 * 80)
    np.testing.assert_allclose(seen[0] - seen[2], [0, 60 * side], atol=1e-6)
    np.testing.assert_allclose(0.5 * (seen[0] + seen[2]), [112, 112 + 40 * side], atol=1e-6)


def test_the_palm_network_sees_the_whole_image():
    M = input_matrix((640, 512))
    np.testing.assert_allclose(M @ [0, 0, 1], [0, 0.1 * SIDE_PX])
    np.testing.assert_allclose(M @ [640, 512, 1], [SIDE_PX, 0.9 * SIDE_PX])


def test_it_finds_what_mediapipe_finds():
    options = DetectionSettings()
    theirs, ours = MediaPipeDetector(options), TorchMediaPipe(options)
    assert isinstance(ours, NearDetector)
    away, hands = [], 0
    for clip in filmed().clips:
        image = next(read_frames(clip, [0]))
        expected, found = theirs.detect(image), ours.detect(image)
        hands += len(expected.score)
        for hand_px, right in zip(expected.points_px, expected.right, strict=True):
            distance = np.linalg.norm(found.points_px - hand_px, axis=-1).mean(-1) / np.ptp(hand_px, axis=0).max()
            if len(distance) and distance.min() < 0.15:
                away.append(distance.min())
                assert abs(found.right[distance.argmin()] - right) < 0.5
        # Near them, both run the same network on the same region.
        looks = [each.detect_near(image, expected.points_px, expected.right > 0.5) for each in (theirs, ours)]
        for one, other in zip(*looks, strict=True):
            assert len(one.score) == len(other.score)
            np.testing.assert_allclose(one.points_px, other.points_px, atol=0.6)
    assert len(away) >= 0.75 * hands >= 3
    assert np.median(away) < 0.05


def test_an_image_without_hands():
    found = TorchMediaPipe(DetectionSettings()).detect(np.full((240, 320, 3), 127, np.uint8))
    assert found.points_px.shape == (0, 21, 2)
    assert found.score.shape == found.right.shape == (0,)


def test_it_is_installed_and_says_on_what_it_runs():
    found = find_detector("mediapipe-torch")
    assert "on cpu" in found.version or "on cuda" in found.version
    assert found.model(DetectionSettings()) == resolve()
    assert isinstance(make_detector(DetectionSettings(detector="mediapipe-torch")), NearDetector)


def test_other_networks_are_refused(tmp_path):
    with pytest.raises(ModelError, match=r"x\.tflite: expected a TensorFlow Lite network, but it cannot be read"):
        Network(b"something else", "x.tflite")
    with zipfile.ZipFile(resolve()) as bundle:
        content = {name: bundle.read(name) for name in (PALMS, LANDMARKS)}
    for parts, said in (
        ({PALMS: content[LANDMARKS], LANDMARKS: content[PALMS]}, "expected a square image as input and"),
        ({PALMS: content[PALMS][:-7777], LANDMARKS: content[LANDMARKS]}, "hand_detector.tflite cannot be used"),
        ({PALMS: content[PALMS]}, "hand_landmarks_detector.tflite cannot be used"),
    ):
        path = tmp_path / "other.task"
        with zipfile.ZipFile(path, "w") as other:
            for name, values in parts.items():
                other.writestr(name, values)
        with pytest.raises(ModelError, match=said):
            TorchMediaPipe(DetectionSettings(model=str(path)))
