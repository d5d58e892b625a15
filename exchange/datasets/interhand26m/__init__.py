"""InterHand2.6M (Moon et al., ECCV 2020)."""

# Ring 2: reads and writes.

from __future__ import annotations

from ..format import DatasetFormat

FORMAT = DatasetFormat(
    name="interhand26m",
    title="InterHand2.6M's annotation files and image tree",
    reads="joints, cameras, MANO and, with --images, the images",
    writes="joints, cameras, MANO, and an image for each view and frame",
    loses="frames per second, standard errors, lens distortion",
    images=True,
    read_back="interhand26m FILE OUT --fps FPS",
    within=1e-7,
)
