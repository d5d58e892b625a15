"""The data card of a Hugging Face dataset: YAML for the Hub, then what is in it, for people. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
"""The Hub's words for up to so many rows."""

LISTED = 50
"""Sequences that the card shows one by one."""

BODY = """
# {title}

Two-hand motion: {sequences} with {frames} frames, {seconds:.1f} s in all, written by `handpipe export hub`.

```python
from datasets import load_dataset

frames = load_dataset("this-folder-or-repository", split="train")
sequences = load_dataset("this-folder-or-repository", "sequences", split="train")
```

`handpipe import hub FOLDER OUT` makes sessions of it again, to the bit.

## What is in it

- `frames`, the default, has a row for each frame of a sequence: `sequence`, `frame`, `time_s`, and for each hand, with
  `left_` and `right_` in front: `valid`; MANO's `global_orient` (3), `hand_pose` (45) and `transl` (3); `joints`
  (21 x 3), `residual`, `keypoints` (21 x 3) and `sigma` (21).
- `sequences` has a row for each sequence: `frames`, `fps`, `views`, and for each hand `hand_model`, `betas` (10) and
  `frames_valid`.
{cameras}
Metres, radians, seconds, pixels; NaN where there is nothing. MANO is smplx's with `flat_hand_mean=True`; `hand_model`
says which model the numbers are for. `joints` are the fitted hand's, `keypoints` what it was fitted to, `sigma` their
standard error and `residual` the distance between the two. The 21 joints are the wrist, then thumb, index, middle, ring
and little finger, each from root to tip. `valid` says whether observations support the frame.

## Figures

| sequence | frames | fps | views | left valid | right valid | residual | reprojection |
| --- | --- | --- | --- | --- | --- | --- | --- |
{rows}
## Before you publish

Say under which licence (`license:` above is `unknown`), who was recorded, and that they agreed. The MANO model itself
is licensed separately and is not part of this dataset.
"""

CAMERAS_TEXT = """\
- `cameras` has a row for each view of a sequence: `view`, `K` (3 x 3), `distortion` (OpenCV's k1, k2, p1, p2, k3),
  `T_cam_world` (4 x 4), `width`, `height`, `fisheye` (whether `distortion` is k1, k2, k3, k4, 0 of OpenCV's fisheye).
"""


def card(rows: Sequence[Mapping[str, Any]], with_cameras: bool) -> str:
    """The text of README.md.

    Args:
        rows: the table `sequences`.
        with_cameras: whether there is a table of cameras.
    """
    frames = sum(row["frames"] for row in rows)
    title = rows[0]["sequence"] if len(rows) == 1 else f"{len(rows)} sequences of two hands"
    tables = {"frames": "data/*.parquet", "sequences": "sequences.parquet"}
    if with_cameras:
        tables["cameras"] = "cameras.parquet"
    configs: list[dict[str, Any]] = [{"config_name": name, "data_files": files} for name, files in tables.items()]
    configs[0]["default"] = True
    head = {
        "pretty_name": title,
        "license": "unknown",
        "task_categories": ["keypoint-detection"],
        "tags": ["hands", "mano", "motion-capture", "two-hand-interaction"],
        "size_categories": [next((word for limit, word in SIZES if frames < limit), "n>1M")],
        "configs": configs,
    }
    body = BODY.format(
        title=title,
        sequences="one sequence" if len(rows) == 1 else f"{len(rows)} sequences",
        frames=frames,
        seconds=sum(row["frames"] / row["fps"] for row in rows),
        cameras=CAMERAS_TEXT if with_cameras else "",
        rows="".join(map(_row, rows[:LISTED])) + _rest(rows[LISTED:]),
    )
    return f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n{body}"


def _row(row: Mapping[str, Any]) -> str:
    cells = [row["sequence"], str(row["frames"]), f"{row['fps']:g}", str(row["views"])]
    cells += [_figure(row.get(f"{hand}_frames_valid"), 100, "%", 1) for hand in ("left", "right")]
    cells += [_figure(row.get("residual_mm"), 1, "mm", 2), _figure(row.get("reprojection_px"), 1, "px", 2)]
    return f"| {' | '.join(cells)} |\n"


def _figure(value: float | None, factor: float, unit: str, digits: int) -> str:
    return "" if value is None else f"{factor * value:.{digits}f} {unit}"


def _rest(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    return f"| and {len(rows)} more | {sum(row['frames'] for row in rows)} | | | | | | |\n"
