"""The Dockerfile: its steps as a script, as far as that goes without Docker."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest
from paths import ROOT
from readme import install_line, section

CPU_TORCH = " --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu"


def steps() -> list[tuple[str, str]]:
    """Every instruction and what follows it, in order."""
    text = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def of_kind(word: str) -> list[str]:
    return [rest for each, rest in steps() if each == word]


def system_packages() -> list[str]:
    apt = of_kind("RUN")[0]
    return apt.partition("--no-install-recommends ")[2].split()


def test_it_says_what_the_readme_says():
    apt, install = of_kind("RUN")
    assert apt.startswith("apt-get update && apt-get install -y ")
    readme = section("Try it")
    (named,) = re.findall(r"`apt-get install ([^`]+)`", readme)
    assert system_packages() == named.split()
    assert install == install_line() + CPU_TORCH
    assert CPU_TORCH.removeprefix(" --no-cache-dir ") in readme


@pytest.mark.skipif(
    shutil.which("apt-get") is None or not list(Path("/var/lib/apt/lists").glob("*Packages*")),
    reason="apt-get has no package lists here",
)
def test_the_system_packages_exist():
    command = ["apt-get", "install", "--simulate", "--no-install-recommends", *system_packages()]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_its_steps_install_a_handpipe_that_runs(tmp_path):
    """COPY, the installation without its dependencies, which are those of this Python, and the entry point."""
    (code, _), (copied,), (entry,) = of_kind("WORKDIR"), of_kind("COPY"), of_kind("ENTRYPOINT")
    image = tmp_path / "image"
    place = image / code.lstrip("/")
    assert copied == ". ."
    ignored = [line.removeprefix("**/") for line in (ROOT / ".dockerignore").read_text().splitlines()]
    shutil.copytree(ROOT, place, ignore=shutil.ignore_patterns(*ignored), symlinks=True)
    install = of_kind("RUN")[1].removesuffix(CPU_TORCH).replace("pip install", "pip install --no-deps")
    subprocess.run(["sh", "-euc", install], cwd=place, check=True)
    (program,) = json.loads(entry)
    dependencies = sysconfig.get_path("purelib")
    command, env = [image / program.lstrip("/")], {**os.environ, "PYTHONPATH": dependencies}
    said = subprocess.run([*command, "--help"], cwd=tmp_path, env=env, check=True, capture_output=True, text=True)
    assert said.stdout.startswith("usage: handpipe COMMAND")
    where = [command[0].with_name("python"), "-c", "import handpipe; print(handpipe.__file__)"]
    found = subprocess.run(where, cwd=tmp_path, env=env, check=True, capture_output=True, text=True)
    assert found.stdout.startswith(str(place))
