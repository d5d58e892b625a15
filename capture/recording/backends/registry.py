"""Which back ends there are: those of handpipe, and those that installed packages register."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points

from ..camera import Backend, Camera, RecordingError, one_sentence
from ..settings import RigConfig

ENTRY_POINTS = "handpipe.cameras"
"""Entry-point group in which a package registers back ends: `name = "module:function"`."""

WITHOUT_PTP = ("opencv", "file")
"""Of these none has a PTP clock."""

OWN: Mapping[str, str] = {
    "pylon": ".pylon:PylonBackend",
    "genicam": ".genicam:GenicamBackend",
    "opencv": ".opencv:OpencvBackend",
    "file": ".file:FileBackend",
}
"""Handpipe's own, imported when they are asked for."""


def backend_names() -> list[str]:
    """Every back end, installed or not."""
    return [*OWN, *sorted({offer.name for offer in entry_points(group=ENTRY_POINTS)} - OWN.keys())]


def backend(name: str, rig: RigConfig) -> Backend:
    """A back end by its name.

    Raises:
        RecordingError: there is none of this name, or the package that has it cannot be imported.
    """
    if name in OWN:
        module, _, attribute = OWN[name].partition(":")
        return getattr(import_module(module, __package__), attribute)(rig)
    offers = [offer for offer in entry_points(group=ENTRY_POINTS) if offer.name == name]
    if not offers:
        raise RecordingError(
            f"backend: expected one of {', '.join(backend_names())}, but found '{name}'. Correct the name, or install "
            "the package that has it."
        )
    try:
        return offers[0].load()(rig)
    except (ImportError, AttributeError) as error:
        raise RecordingError(
            f"backend '{name}': expected {offers[0].value}, but it cannot be imported ({error}). Install its "
            "dependencies."
        ) from error


def usable_backend(name: str, rig: RigConfig) -> Backend:
    """The same, which can be used here. Raises RecordingError if something has to be installed first."""
    found = backend(name, rig)
    if missing := found.missing():
        raise RecordingError(f"backend '{name}': {missing}")
    return found


def cameras_of(rig: RigConfig) -> dict[str, Camera]:
    """The rig's cameras by name, none of them open. Raises RecordingError with every reason why one cannot be used."""
    found: dict[str, Camera] = {}
    problems: dict[str, str] = {}
    for name in rig.cameras:
        kind = rig.camera(name).backend
        try:
            if kind is None:
                raise RecordingError("expected `backend`, but there is none. `handpipe cameras` lists them.")
            if kind in WITHOUT_PTP and rig.camera(name).ptp:
                raise RecordingError(f"ptp: cameras of the back end '{kind}' have no PTP clock. Remove `ptp`.")
            found[name] = usable_backend(kind, rig).camera(name)
        except RecordingError as error:
            problems[name] = str(error)
    if problems:
        raise RecordingError(one_sentence(problems))
    return found
