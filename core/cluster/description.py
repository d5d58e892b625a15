"""The file of `--cluster`: which kind of cluster, how many workers, and what each may use."""

# Ring 2: reads and writes.

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic.dataclasses import dataclass as settings
from pydantic_core import PydanticCustomError

from ..config import build, read_yaml
from ..errors import ConfigError
from ..settings import STRICT, Count

Kind = Literal["local", "scheduler", "slurm", "kubernetes"]

_BYTES = {"MB": 10**6, "GB": 10**9, "TB": 10**12, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
_MEMORY = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) ?([MGT]i?B)", re.IGNORECASE)
_WALLTIME = re.compile(r"(\d+-)?\d{1,3}:[0-5]\d:[0-5]\d")


def memory_bytes(text: str) -> int:
    """Bytes of `4 GB` or `512 MiB`. Raises PydanticCustomError for anything else."""
    match = _MEMORY.fullmatch(text)
    if match is None:
        raise PydanticCustomError("memory", "expected memory with its unit such as `16 GB`")
    return int(float(match[1]) * _BYTES[match[2].upper()])


def _memory(text: str) -> str:
    memory_bytes(text)
    return text


def _walltime(value: Any) -> Any:
    """YAML reads 12:00:00 as a number of seconds, and 08:00:00 as text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value // 3600:02}:{value // 60 % 60:02}:{value % 60:02}"
    if isinstance(value, str) and not _WALLTIME.fullmatch(value):
        raise PydanticCustomError("walltime", "expected a time as HH:MM:SS or D-HH:MM:SS")
    return value


@settings(frozen=True, config=STRICT)
class ClusterDescription:
    """A cluster, as a YAML file describes it."""

    type: Kind = "local"
    """What starts the workers. Has to be given."""
    workers: Count | None = None
    """Number of worker processes. Flag `--workers` overrides it."""
    address: str | None = None
    """Of a running Dask scheduler, tcp://host:port."""
    cores: Count = 1
    """CPU cores of a SLURM job: it gets as many workers, of one thread each."""
    memory: Annotated[str, AfterValidator(_memory)] | None = None
    """Memory of a SLURM job, or of a Kubernetes worker: `64 GB`."""
    walltime: Annotated[str, BeforeValidator(_walltime)] = "08:00:00"
    """How long a SLURM job may run. Jobs that end are replaced; what they had not finished is computed again."""
    queue: str | None = None
    """SLURM partition."""
    account: str | None = None
    """SLURM account."""
    options: list[str] = Field(default_factory=list)
    """Further options of sbatch, each a line `#SBATCH ...` of the job script: `--constraint=avx2`."""
    setup: list[str] = Field(default_factory=list)
    """Shell commands of the job script before the worker starts: `module load ...`."""
    interface: str | None = None
    """Network interface for the scheduler and the workers: ib0."""
    scratch: str | None = None
    """Folder for Dask's temporary files on the nodes."""
    logs: str | None = None
    """Folder for the output of the jobs."""
    python: str | None = None
    """Python interpreter on the nodes. Default: the one that runs this command."""
    image: str | None = None
    """Container image of a Kubernetes worker, with the same handpipe."""
    namespace: str = "default"
    """Kubernetes namespace."""


USED: Mapping[Kind, frozenset[str]] = {
    "local": frozenset({"workers"}),
    "scheduler": frozenset({"address"}),
    "slurm": frozenset(
        {"workers", "cores", "memory", "walltime", "queue", "account", "options", "setup"}
        | {"interface", "scratch", "logs", "python"}
    ),
    "kubernetes": frozenset({"workers", "memory", "image", "namespace"}),
}
"""Which keys each kind takes."""

NEEDED: Mapping[Kind, tuple[str, ...]] = {
    "local": (),
    "scheduler": ("address",),
    "slurm": ("workers", "memory"),
    "kubernetes": ("workers", "memory", "image"),
}


@dataclass(frozen=True)
class ClusterFile:
    """A description, and the file that it stands in."""

    path: str
    cluster: ClusterDescription


def read_cluster(path: str) -> ClusterFile:
    """The cluster that a file describes.

    Raises:
        ConfigError: the file is not there, or a key is unknown, missing or wrong.
    """
    layer = read_yaml(Path(path))
    try:
        found = build(ClusterDescription, [layer])
    except ConfigError as error:
        raise ConfigError(str(error).replace("docs/configuration.md", "docs/cluster.md")) from error
    kind, given = found.type, set(layer[1]) - {"type"}
    if "type" not in layer[1]:
        raise ConfigError(f"{path}: expected a key `type`, but there is none. It is one of {', '.join(USED)}.")
    for key in sorted(given - USED[kind]):
        raise ConfigError(
            f"{path}: '{key}': a cluster of type {kind} does not use this key. Remove it; it uses "
            f"{', '.join(field.name for field in fields(found) if field.name in USED[kind])}."
        )
    for key in NEEDED[kind]:
        if getattr(found, key) is None:
            raise ConfigError(f"{path}: expected the key `{key}` for type {kind}, but there is none. Add it.")
    return ClusterFile(path, found)
