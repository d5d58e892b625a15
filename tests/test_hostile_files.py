"""Hostile files, in short: the benchmark that gives mutated files to every reader, with a few inputs of each format."""

from __future__ import annotations

import json
import subprocess
import sys

from paths import ROOT

COUNT = 25
"""Inputs of each format; the valid files are among them. `benchmarks/fuzzing.py` runs tens of thousands."""


def test_mutated_files_are_read_or_refused(tmp_path):
    script = ROOT / "benchmarks" / "fuzzing.py"
    command = [sys.executable, str(script), "--count", str(COUNT), "--seed", "7", "--save", str(tmp_path / "found")]
    out = subprocess.run([*command, "--json", str(tmp_path / "f.json")], capture_output=True, text=True, check=False)
    assert out.returncode == 0, out.stderr[-2000:]
    figures = {each["name"]: each["value"] for each in json.loads((tmp_path / "f.json").read_text())["figures"]}
    assert figures["findings"] == 0, out.stdout
    assert figures["formats"] >= 40
    assert figures["inputs"] == COUNT * figures["formats"]
    # A format whose valid files are refused tests nothing.
    by_format = {
        name.removesuffix(": accepted"): value for name, value in figures.items() if name.endswith(": accepted")
    }
    assert len(by_format) == figures["formats"]
    assert [name for name, accepted in by_format.items() if not accepted] == []
