"""Folders for the Hugging Face Hub."""

# Ring 2: reads and writes.

from __future__ import annotations

from ..format import DatasetFormat

FORMAT = DatasetFormat(
    name="hub",
    title="Hugging Face dataset: Parquet tables and a data card",
    reads="MANO, keypoints and cameras",
    writes="MANO, keypoints and cameras in Parquet, and a data card",
    loses="clips, detections",
    read_back="hub FILE OUT",
    group="mano",
)
