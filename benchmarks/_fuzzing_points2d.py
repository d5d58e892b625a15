"""2D hands of other detectors, as `handpipe import keypoints2d` reads them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from _fuzzing_format import Format, only_file
from _fuzzing_motion import JSON, NPZ, points_of_hands
from _fuzzing_mutations import Files

from handpipe.core.hands import HANDS
from handpipe.exchange.keypoints2d.files import read_files
from handpipe.rendering.rig import dome_rig


def formats() -> list[Format]:
    return [
        _format("openpose", _openpose),
        _format("mmpose", _mmpose),
        _format("coco", _coco),
        Format("2D: npz", _npz, _read, NPZ, ("exchange.keypoints2d.formats.npz",)),
    ]


def _format(name: str, make: Callable[[Path], list[Files]]) -> Format:
    return Format(f"2D: {name}", make, _read, JSON, (f"exchange.keypoints2d.formats.{name}",))


def _pixels(seed: int) -> np.ndarray:
    """(hand, 21, 2)"""
    return np.stack([dome_rig(2, (480, 384)).project(points_of_hands()[seed, hand])[0] for hand in range(2)]).round(2)


def _triplets(seed: int, hand: int) -> list[float]:
    return np.c_[_pixels(seed)[hand], np.full(21, 0.8)].ravel().tolist()


def _openpose(folder: Path) -> list[Files]:
    people = [{f"hand_{side}_keypoints_2d": _triplets(k, h) for h, side in enumerate(HANDS)} for k in range(2)]
    texts = [json.dumps({"version": 1.3, "people": people[:count]}) for count in (1, 2)]
    return [{"c0_000000000000_keypoints.json": text.encode()} for text in texts]


def _mmpose(folder: Path) -> list[Files]:
    hands = [{"keypoints": _pixels(k)[0].tolist(), "keypoint_scores": [0.9] * 21} for k in range(2)]
    body = np.vstack([np.zeros((91, 2)), *_pixels(2)]).tolist()
    whole = [{"keypoints": body, "keypoint_scores": [0.9] * 133}]
    demo = {"meta_info": {}, "instance_info": [{"frame_id": k + 1, "instances": hands} for k in range(2)]}
    return [{"c0_0001.json": json.dumps(value).encode()} for value in (demo, hands, whole)]


def _coco(folder: Path) -> list[Files]:
    images = [{"id": k, "file_name": f"images/c0/{k:06d}.jpg", "width": 480, "height": 384} for k in range(2)]
    rows = [
        {"id": k, "image_id": k, **{f"{side}hand_kpts": _triplets(k, h) for h, side in enumerate(HANDS)}}
        for k in range(2)
    ]
    return [{"a.json": json.dumps({"info": {"fps": 30}, "images": images, "annotations": rows}).encode()}]


def _npz(folder: Path) -> list[Files]:
    points = np.stack([_pixels(k) for k in range(3)])
    more: Mapping[str, Any] = {"score": np.full((3, 2), 0.9), "right": np.tile([0.0, 1.0], (3, 1))}
    np.savez(folder / "c0.npz", points=points)
    np.savez(folder / "all.npz", points=points[None], views=np.array(["c0"]), **{k: v[None] for k, v in more.items()})
    return [{"c0.npz": (folder / name).read_bytes()} for name in ("c0.npz", "all.npz")]


def _read(folder: Path) -> None:
    for picture in read_files([Path(only_file(folder))], 0.0).pictures:
        assert isinstance(picture.name, str)
        for hand in picture.hands:
            assert hand.points_px.shape == (21, 2)
            assert not np.isinf(hand.points_px).any()
            assert 0 < hand.score <= 1, hand.score
            assert 0 <= hand.right <= 1, hand.right
