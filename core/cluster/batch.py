"""Clusters whose workers are jobs of SLURM or pods of Kubernetes: started through Dask's own packages for them."""

# Ring 2: reads and writes.

from __future__ import annotations

import math
import shutil
import signal
from contextlib import ExitStack
from importlib import import_module
from typing import Any

from ..errors import ClusterError, ConfigError
from .description import ClusterFile, memory_bytes

THREADS = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS", "NUMEXPR")}

CLASSES = {
    "slurm": ("dask_jobqueue", "SLURMCluster", "cluster"),
    "kubernetes": ("dask_kubernetes.operator", "KubeCluster", "kubernetes"),
}
"""Module and class that start the workers, and the extra that installs them."""

SUBMITS = "sbatch"


def start(file: ClusterFile, workers: int, dashboard: str, exit_stack: ExitStack) -> Any:
    """A client of a new cluster, which ends with the stack. Its workers come when they are granted.

    Args:
        file: which cluster.
        workers: number of worker processes, of one thread each.
        dashboard: address of the dashboard.
        exit_stack: closes what is opened here.

    Raises:
        ConfigError: what starts the workers is not installed.
        ClusterError: it refuses.
    """
    from distributed import Client

    made = _class(file)
    try:
        if file.cluster.type == "slurm":
            if shutil.which(SUBMITS) is None:
                raise ConfigError(
                    f"{file.path}: expected SLURM's command `{SUBMITS}` here, but found none. Run handpipe on a node "
                    "from which jobs can be submitted."
                )
            cluster = exit_stack.enter_context(made(**job_arguments(file, dashboard)))
            cluster.scale(jobs=math.ceil(workers / file.cluster.cores))
        else:
            cluster = exit_stack.enter_context(made(**pod_arguments(file, workers)))
        return exit_stack.enter_context(Client(cluster))
    except ConfigError:
        raise
    except Exception as error:
        # What SLURM and Kubernetes refuse comes as RuntimeError, OSError, and classes of the packages' own.
        raise ClusterError(
            f"{file.path}: expected to start workers of type {file.cluster.type}, but it failed "
            f"({type(error).__name__}: {' '.join(str(error).split())[:300]}). Correct the file and try again."
        ) from error


def _class(file: ClusterFile) -> Any:
    module, name, extra = CLASSES[file.cluster.type]
    handler = signal.getsignal(signal.SIGINT)
    try:
        return getattr(import_module(module), name)
    except ImportError as error:
        package = module.partition(".")[0].replace("_", "-")
        raise ConfigError(
            f"{file.path}: type {file.cluster.type} needs {package}, which cannot be imported ({error}). "
            f"Install it: `pip install 'handpipe[{extra}]'`."
        ) from error
    finally:
        # dask-jobqueue takes ctrl-C for itself, and would end the process without a word.
        if signal.getsignal(signal.SIGINT) is not handler:
            signal.signal(signal.SIGINT, handler)


def job_arguments(file: ClusterFile, dashboard: str = "127.0.0.1:0") -> dict[str, Any]:
    """What dask-jobqueue is told of a SLURM cluster: a job has a worker of one thread for each of its cores."""
    cluster = file.cluster
    given = {
        "queue": cluster.queue,
        "account": cluster.account,
        "interface": cluster.interface,
        "local_directory": cluster.scratch,
        "log_directory": cluster.logs,
        "python": cluster.python,
    }
    return {
        **{name: value for name, value in given.items() if value is not None},
        "job_name": "handpipe",
        "cores": cluster.cores,
        "processes": cluster.cores,
        "memory": f"{memory_bytes(cluster.memory or '')} B",
        "walltime": cluster.walltime,
        "job_extra_directives": cluster.options,
        "job_script_prologue": [*(f"export {name}={value}" for name, value in THREADS.items()), *cluster.setup],
        "scheduler_options": {"dashboard_address": dashboard},
    }


def pod_arguments(file: ClusterFile, workers: int) -> dict[str, Any]:
    """What dask-kubernetes is told: a pod has one worker of one thread."""
    cluster = file.cluster
    limits = {"cpu": "1", "memory": str(memory_bytes(cluster.memory or ""))}
    return {
        "name": "handpipe",
        "namespace": cluster.namespace,
        "image": cluster.image,
        "n_workers": workers,
        "resources": {"requests": limits, "limits": limits},
        "env": THREADS,
        "worker_command": "dask worker --nthreads 1",
    }
