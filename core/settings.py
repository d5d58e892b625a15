"""What every settings class asks of pydantic, and the settings of the engine."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as settings

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
"""What every settings class asks of pydantic."""

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Confidence = Annotated[float, Field(ge=0, le=1)]
"""A detector's confidence score."""


@settings(frozen=True, config=STRICT)
class EngineSettings:
    """How the computation is distributed. These settings do not change results."""

    workers: Annotated[int | None, Field(ge=0, le=1024)] = None
    """Number of worker processes. None: one per CPU core. 0: run in this process, without Dask."""
    scheduler: str | None = None
    """Address of a running Dask scheduler (tcp://host:port). None: start a local cluster."""
    chunk_frames: Annotated[int, Field(ge=1)] = 64
    """Frames per chunk, the unit of computation and storage."""
    dashboard: str = "127.0.0.1:0"
    """Address of the local cluster's dashboard; port 0 selects a free port."""
