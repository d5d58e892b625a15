"""`--cluster FILE`: what it may say, the job that it becomes, and a worker that lacks something."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from paths import ROOT, SUPPORT
from toy_stage import FRAMES, Quiet, plan

from handpipe import __version__
from handpipe.core.cluster import batch, worker_setup
from handpipe.core.cluster.cluster import Cluster
from handpipe.core.cluster.description import ClusterFile, read_cluster
from handpipe.core.cluster.versions import versions_here
from handpipe.core.engine import Engine
from handpipe.core.errors import ClusterError, ConfigError
from handpipe.core.settings import EngineSettings
from handpipe.core.storage.store import Store

SLURM = """
type: slurm
workers: 8
cores: 4
memory: 16 GB
walltime: 12:00:00
queue: cpu
account: lab
options: ["--constraint=avx2"]
setup: [module load python/3.11]
interface: lo
logs: slurm-logs
"""


def other_versions(**versions: str) -> worker_setup.WorkerSetup:
    """What a client with these versions asks of its workers."""
    return worker_setup.WorkerSetup((), tuple({**versions_here(), **versions}.items()))


def described(tmp_path: Path, text: str) -> ClusterFile:
    path = tmp_path / "cluster.yaml"
    path.write_text(text)
    return read_cluster(str(path))


def dask_jobqueue():
    """The package, without the handler of ctrl-C that it installs."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        return pytest.importorskip("dask_jobqueue")
    finally:
        signal.signal(signal.SIGINT, handler)


def test_a_package_that_takes_ctrl_c_does_not_keep_it(tmp_path, monkeypatch):
    (tmp_path / "takes_signals.py").write_text(
        "import signal\nsignal.signal(signal.SIGINT, lambda *_: None)\nSLURMCluster = 7\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(batch.CLASSES, "slurm", ("takes_signals", "SLURMCluster", "cluster"))
    before = signal.getsignal(signal.SIGINT)
    assert batch._class(described(tmp_path, SLURM)) == 7
    assert signal.getsignal(signal.SIGINT) is before


def test_the_job_script_of_slurm(tmp_path):
    jobqueue = dask_jobqueue()
    file = described(tmp_path, SLURM)
    with jobqueue.SLURMCluster(**batch.job_arguments(file)) as cluster:
        lines = cluster.job_script().splitlines()
    for line in (
        *("#SBATCH -J handpipe", "#SBATCH -p cpu", "#SBATCH -A lab", "#SBATCH -t 12:00:00", "#SBATCH --mem=15G"),
        *("#SBATCH --cpus-per-task=4", "#SBATCH --constraint=avx2", "#SBATCH -o slurm-logs/handpipe-%J.out"),
        *("export OMP_NUM_THREADS=1", "module load python/3.11"),
    ):
        assert line in lines
    assert "--nthreads 1" in lines[-1]
    assert "--nworkers 4" in lines[-1]
    assert "--memory-limit 3.73GiB" in lines[-1]


def test_the_pods_of_kubernetes(tmp_path):
    text = "{type: kubernetes, workers: 3, memory: 4 GiB, image: registry/handpipe:0.1}"
    arguments = batch.pod_arguments(described(tmp_path, text), 5)
    assert (arguments["image"], arguments["n_workers"]) == ("registry/handpipe:0.1", 5)
    assert arguments["resources"]["limits"] == {"cpu": "1", "memory": str(4 * 2**30)}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("workers: 3", "expected a key `type`"),
        ("type: pbs", "'type': input should be 'local', 'scheduler', 'slurm' or 'kubernetes', but got 'pbs'"),
        ("{type: slurm, workers: 3}", "expected the key `memory` for type slurm"),
        ("{type: local, memory: 3 GB}", "'memory': a cluster of type local does not use this key"),
        ("{type: slurm, worker: 3}", "unknown key 'worker'"),
        ("{type: slurm, memory: 16}", "'memory': input should be a valid string, but got 16"),
        ("{type: slurm, memory: 16 gigs}", "expected memory with its unit such as `16 GB`"),
        (f"{{type: slurm, memory: {'9' * 400} GB}}", "expected memory with its unit such as `16 GB`"),
        ("{type: slurm, walltime: soon}", "expected a time as HH:MM:SS"),
        ("{type: slurm, workers: 0}", "'workers': input should be greater than or equal to 1"),
        ("type: !!python/object/apply:os.system [ls]", "expected YAML, but it cannot be read"),
    ],
)
def test_what_a_file_may_not_say(tmp_path, text, says):
    with pytest.raises(ConfigError, match=r"cluster\.yaml") as found:
        described(tmp_path, text)
    assert says in str(found.value)


def test_the_walltime_is_as_written(tmp_path):
    for text, found in (("12:00:00", "12:00:00"), ("08:30:00", "08:30:00"), ("2-00:00:00", "2-00:00:00")):
        file = described(tmp_path, f"{{type: slurm, workers: 1, memory: 1 GB, walltime: {text}}}")
        assert file.cluster.walltime == found


def options(tmp_path, text: str, **others) -> EngineSettings:
    (tmp_path / "cluster.yaml").write_text(text)
    return EngineSettings(cluster=str(tmp_path / "cluster.yaml"), **others)


def test_two_clusters_are_refused(tmp_path):
    for others, flag in (({"workers": 0}, "--workers 0"), ({"scheduler": "tcp://x:1"}, "--scheduler tcp://x:1")):
        with pytest.raises(ConfigError, match=f"{flag}: expected it without --cluster"):
            Cluster(options(tmp_path, "type: local", **others))


def test_what_is_not_installed_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(batch.CLASSES, "slurm", ("no_such_module", "SLURMCluster", "cluster"))
    with (
        pytest.raises(ConfigError, match=r"needs no-such-module.*pip install 'handpipe\[cluster\]'"),
        Cluster(options(tmp_path, SLURM)) as cluster,
    ):
        cluster.calls(print)


def test_a_machine_without_slurm_is_a_sentence(tmp_path):
    dask_jobqueue()
    with pytest.raises(ConfigError, match="expected SLURM's command `sbatch`"), Cluster(options(tmp_path, SLURM)) as c:
        c.calls(print)


SBATCH = """#!/bin/bash
cp "$1" "$0.job"
setsid bash "$0.job" > "$0.log" 2>&1 &
echo "Submitted batch job $!"
"""
SCANCEL = """#!/bin/bash
kill -9 -- "-$1"
"""


class Impatient(Quiet):
    """Fails instead of waiting for a worker that does not come."""

    def say(self, text):
        assert not text.startswith("no worker"), text


def test_a_stage_runs_in_jobs(tmp_path, monkeypatch):
    """SLURM's two commands as processes of this machine: the job script, as it is, starts the worker."""
    dask_jobqueue()
    for name, script in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    path = f"{SUPPORT}:{ROOT / '.dev'}"
    text = f"{{type: slurm, workers: 1, memory: 4 GB, setup: ['export PYTHONPATH={path}']}}"
    store = Store(str(tmp_path / "results.zarr"))
    store.open()
    with Engine(options(tmp_path, text, chunk_frames=8), Impatient()) as engine:
        assert engine.execute(store, lambda frames: plan(tmp_path / "log", frames))
        setup = engine._setup(store)
        assert setup is not None
        assert setup.paths == (str(tmp_path / "results.zarr"),)
        client = engine.cluster.calls(print).client
        lacks = {
            "expected to see /nowhere/x, as here": worker_setup.WorkerSetup(("/nowhere/x",)),
            rf"it has handpipe {__version__} \(here 9.9\)": other_versions(handpipe="9.9"),
            r"it has python 3.11.\d+ \(here 3.12.0\)": other_versions(python="3.12.0"),
            r"it has dask .* \(here 1.2.3\), numpy .* \(here 1.0.0\). Install": other_versions(
                numpy="1.0.0", dask="1.2.3"
            ),
        }
        for says, lacking in lacks.items():
            with pytest.raises(ClusterError, match=says):
                client.submit(lacking.check, pure=False).result()
        client.submit(other_versions(python="3.11.99").check, pure=False).result()
        client.submit(setattr, worker_setup, "LEAST_MEMORY", 10**12).result()
        with pytest.raises(ClusterError, match="expected 1000 GB of memory or more for a worker, but it has 4 GB"):
            client.submit(worker_setup.WorkerSetup(("/",)).check, pure=False).result()
    assert store.read("squares", "points")[:, 0, 0, 0].tolist() == [n**2 for n in range(FRAMES)]
