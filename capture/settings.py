"""Settings of capture: what makes a session, and the detector."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass as settings

from ..core.settings import STRICT, Confidence, Count, Positive

TRAINED = ".safetensors"
"""Ending of a detector's file, by which it is told from a name."""
MOST_CANDIDATES = 8
"""Candidates of all detectors in an image: the views are searched for the best of all ways to assign them."""


@settings(frozen=True, config=STRICT)
class CaptureSettings:
    """Requirements on the clips of a session."""

    dead_views: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Maximum share of unusable views (0 to 1). They are left out with a warning; more than this is an error."""
    mixed_sizes: bool = False
    """Allow cameras of different resolution."""
    timestamps_unit: Literal["s", "ms", "us", "ns"] | None = None
    """Unit of frame_time in timestamps.csv. None: seconds, and an error if the rates show another unit."""


@settings(frozen=True, config=STRICT)
class DetectionSettings:
    """Detection of 2D hands in images."""

    detector: str = "mediapipe"
    """Detector: its name in the entry-point group `handpipe.detectors` of an installed package, or the path of a
    .safetensors file that `handpipe train-detector` wrote."""
    detectors: tuple[str, ...] = ()
    """Several detectors, named as in `detector`, that vote in its place: all look at each image, and the views decide
    which candidate shows a hand. Empty: `detector` alone."""
    model: str | None = None
    """Path of the detector's model file; for MediaPipe a .task bundle. None: the detector's default model."""
    candidates: Annotated[int, Field(ge=1, le=8)] = 2
    """Maximum number of hands per image that each detector finds."""
    min_detection: Confidence = 0.3
    """Minimum confidence of the palm detector (0 to 1). Low, because triangulation rejects false detections."""
    min_presence: Confidence = 0.5
    """Minimum confidence of the landmark network (0 to 1)."""
    regions: Literal["image", "space"] = "image"
    """Where the detector looks for hands. `image`: it searches every image. `space`: it searches some images first, and
    then looks where the views together show the hands; `detect` needs a calibration for it."""
    search_s: Positive = 0.2
    """With `regions: space`: longest time between two frames that are searched, seconds."""
    search_views: Annotated[int, Field(ge=3)] = 16
    """With `regions: space`: number of views, approximately, that are searched in such a frame, in turn."""

    @property
    def each(self) -> tuple[DetectionSettings, ...]:
        """The settings of each detector that looks at an image."""
        if not self.detectors:
            return (self,)
        # A trained detector is a model file itself.
        models = [None if name.endswith(TRAINED) else self.model for name in self.detectors]
        both = zip(self.detectors, models, strict=True)
        return tuple(replace(self, detector=name, detectors=(), model=model) for name, model in both)

    @model_validator(mode="after")
    def _check_detectors(self) -> DetectionSettings:
        # ValueError, because pydantic turns it into the message that names the setting.
        if len(set(self.detectors)) < len(self.detectors):
            raise ValueError(f"`detectors` names one twice ({', '.join(self.detectors)}); remove one")
        if self.candidates * len(self.detectors) > MOST_CANDIDATES:
            raise ValueError(
                f"expected at most {MOST_CANDIDATES} candidates per image, but {len(self.detectors)} detectors with "
                f"`candidates` {self.candidates} find more; lower one of them"
            )
        return self


@settings(frozen=True, config=STRICT)
class DetectorTrainingSettings:
    """Training of a detector on sessions of a rig (`handpipe train-detector`)."""

    steps: Count = 5000
    """Number of optimizer steps, including those on rendered hands alone, where they come first."""
    batch: Annotated[int, Field(ge=2, le=1024)] = 24
    """Batch size, crops."""
    learning_rate: Positive = 2e-3
    """Peak learning rate, after the warm-up."""
    crops: Annotated[int, Field(ge=16, le=100_000)] = 8000
    """Maximum number of labelled hands to learn from; each takes 110 kB of memory. More are thinned evenly."""
    renders: Annotated[int, Field(ge=0, le=100_000)] = 12_000
    """Number of rendered crops with exact joints to learn from in addition. 0: none."""
    held_out_frames: Annotated[float, Field(ge=0.05, le=0.5)] = 0.15
    """Share of the frames that judge the detector and are not learnt from."""
    held_out_views: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    """Share of the views that judge it; at least six are learnt from."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Random seed."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device; `auto` selects a GPU if there is one."""
    save_every: Count = 100
    """Steps between two saves of the state from which an interrupted training continues."""
