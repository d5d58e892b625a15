"""Which detector the settings mean: one that a package registers, or a file that `train-detector` wrote."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import numpy as np
from numpy import ndarray

from ..core.errors import ConfigError, ModelError
from .detector import Candidates, Detector, NearDetector, complaint_about
from .settings import TRAINED, DetectionSettings
from .voting import vote_of

ENTRY_POINTS = "handpipe.detectors"
"""Entry-point group in which a package registers its detectors: `name = "module:Class"`."""


@dataclass(frozen=True)
class InstalledDetector:
    """A detector that an installed package registers."""

    name: str
    version: str
    """Package and version. Results of another version are recomputed."""
    make: Callable[[DetectionSettings], Detector]

    @property
    def gives_sigma(self) -> bool:
        """Whether its candidates say how uncertain their joints are."""
        return bool(getattr(self.make, "gives_sigma", False))

    @property
    def near_version(self) -> str | None:
        """What its results for expected hands depend on besides; None if it cannot be told where a hand is expected."""
        say = getattr(self.make, "near_version", None)
        if not hasattr(self.make, "detect_near"):
            return None
        return self.version if say is None else str(say())

    def model(self, options: DetectionSettings) -> Path | None:
        """Path of its model file, if it has one. Raises ModelError if the configured file does not exist."""
        find = getattr(self.make, "model", None)
        if find is not None:
            return Path(find(options))
        path = None if options.model is None else Path(options.model).expanduser()
        if path is not None and not path.is_file():
            raise ModelError(
                f"{path}: expected the model of the detector '{self.name}', but there is no such file. "
                "Correct `detection.model`."
            )
        return path


@dataclass(frozen=True)
class ChosenDetectors:
    """The detectors of the settings: one, or several that vote."""

    options: Sequence[DetectionSettings]
    """Of each."""
    each: Sequence[InstalledDetector]

    @property
    def version(self) -> str:
        """Packages and versions."""
        return "; ".join(detector.version for detector in self.each)

    @property
    def gives_sigma(self) -> bool:
        """Whether candidates say how uncertain their joints are, of one detector or more."""
        return any(detector.gives_sigma for detector in self.each)

    @property
    def near_version(self) -> str | None:
        """What results for expected hands depend on besides; None if none can be told where a hand is expected."""
        said = [detector.near_version for detector in self.each]
        return "; ".join(filter(None, said)) if any(each is not None for each in said) else None

    @property
    def kind(self) -> str:
        """What the settings say of them without paths."""
        return "+".join(f"trained{TRAINED}" if d.name.endswith(TRAINED) else d.name for d in self.each)

    def models(self) -> dict[str, Path]:
        """The model files, by a name of each. Raises ModelError if one does not exist."""
        both = zip(self.each, self.options, strict=True)
        paths = [path for detector, options in both if (path := detector.model(options)) is not None]
        return {"model" if at == 0 else f"model {at + 1}": path for at, path in enumerate(paths)}


def chosen_detectors(options: DetectionSettings) -> ChosenDetectors:
    """The installed detectors that the settings name. Raises as `find_detector` does."""
    return ChosenDetectors(options.each, [find_detector(each.detector) for each in options.each])


def find_detector(name: str) -> InstalledDetector:
    """Return the installed detector with this name.

    A name that ends in .safetensors is the path of a detector that `handpipe train-detector` wrote.

    Raises:
        ConfigError: no package, or more than one, registers the name.
        ModelError: the package that does cannot be imported, or the file is not a detector.
    """
    if name.endswith(TRAINED):
        from .learning.detector import RigDetector as made_by  # It needs PyTorch, which takes its time.

        made_by.model(DetectionSettings(detector=name))  # What cannot work is said before anything is computed.
        return InstalledDetector(name, made_by.version(), made_by)
    offers = entry_points(group=ENTRY_POINTS)
    found = [offer for offer in offers if offer.name == name]
    if len(found) != 1:
        what = "no package" if not found else " and ".join(sorted(_package(offer) for offer in found))
        known = ", ".join(sorted({offer.name for offer in offers})) or "none: reinstall handpipe, which includes one"
        raise ConfigError(
            f"'detection.detector': expected the name of one installed detector ({known}), but '{name}' is registered "
            f"by {what} in the entry-point group {ENTRY_POINTS}. Correct the name, or install the package that has it."
        )
    try:
        made_by = found[0].load()
    except (ImportError, AttributeError) as error:
        raise ModelError(
            f"detector '{name}' of {_package(found[0])}: expected the class {found[0].value}, but it cannot be "
            f"imported ({error}). Install its dependencies, or use another detector."
        ) from error
    say = getattr(made_by, "version", None)
    return InstalledDetector(name, _package(found[0]) if say is None else str(say()), made_by)


def _package(offer: EntryPoint) -> str:
    return "an unknown package" if offer.dist is None else f"{offer.dist.name} {offer.dist.version}"


@cache
def make_detector(options: DetectionSettings) -> Detector:
    """The detector of these settings, with checked results; one per process. Raises as `find_detector` does."""
    if options.detectors:
        return vote_of([make_detector(each) for each in options.each], chosen_detectors(options).gives_sigma)
    installed = find_detector(options.detector)
    name, detector = f"detector '{installed.name}' ({installed.version})", installed.make(options)
    if isinstance(detector, NearDetector):
        return CheckedNearDetector(name, detector)
    return CheckedDetector(name, detector)


@dataclass(frozen=True)
class CheckedDetector:
    """A detector that validates its results, so that only valid candidates reach the store."""

    name: str
    """Name for messages."""
    detector: Detector

    def detect(self, image_bgr: ndarray) -> Candidates:
        """Find hands in a (height, width, 3) uint8 image. Raises ModelError when the result cannot be hands in it."""
        return self._checked(self.detector.detect(image_bgr), image_bgr)

    def _checked(self, found: Candidates, image_bgr: ndarray) -> Candidates:
        height, width = image_bgr.shape[:2]
        complaint = complaint_about(found, np.array([width, height]))
        if complaint is not None:
            raise ModelError(f"{self.name}: {complaint} in an image of {width}x{height}. Fix or replace the detector.")
        return found


@dataclass(frozen=True)
class CheckedNearDetector(CheckedDetector):
    """The same of one that can be told where hands are expected."""

    detector: NearDetector

    def detect_near(self, image_bgr: ndarray, hands_px: ndarray, right: ndarray) -> list[Candidates]:
        """Find the hands that are expected at (hand, 21, 2) pixels. Raises ModelError as `detect`."""
        found = self.detector.detect_near(image_bgr, hands_px, right)
        if not isinstance(found, Sequence) or len(found) != len(hands_px):
            got = f"those of {len(found)}" if isinstance(found, Sequence) else type(found).__name__
            raise ModelError(
                f"{self.name}: expected candidates for each of {len(hands_px)} expected hands, but got {got}. Fix or "
                "replace the detector."
            )
        return [self._checked(each, image_bgr) for each in found]
