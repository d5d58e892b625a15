"""COCO-WholeBody (Jin et al., ECCV 2020)."""

# Ring 2: reads and writes.

from __future__ import annotations

from ..format import DatasetFormat

FORMAT = DatasetFormat(
    name="coco",
    title="COCO-WholeBody: hands in every view's images, and cameras",
    reads="the 2D hands, from which `handpipe run` makes motion with the cameras",
    writes="2D hands, cameras, an image for each view and frame",
    loses="MANO, joints outside the images",
    images=True,
    read_back="coco FILE OUT",
    group="detections",
    within=1e-3,
)
