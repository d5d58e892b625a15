"""handpipe: synchronized clips of two interacting hands in, MANO sequences in Zarr out."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .api.session import Session, open
    from .api.stages import fit, generate, run, triangulate
    from .core.cameras import Cameras
    from .core.errors import HandpipeError
    from .core.quality import Check

__all__ = ["Cameras", "Check", "HandpipeError", "Session", "fit", "generate", "open", "run", "triangulate"]

_HOMES = {
    **dict.fromkeys(("Session", "open"), "api.session"),
    **dict.fromkeys(("fit", "generate", "run", "triangulate"), "api.stages"),
    **{"Cameras": "core.cameras", "Check": "core.quality", "HandpipeError": "core.errors"},
}
"""Where each public name is defined."""


def __getattr__(name: str) -> Any:
    """Public names are imported when they are used: the command line does not wait for them."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
