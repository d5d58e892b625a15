"""The documentation: true, and running."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT


def load(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PAGES = [
    "index.md",
    "store.md",
    "configuration.md",
    "cameras.md",
    "exporting.md",
    "datasets.md",
    "importing.md",
    "python.md",
]


@pytest.mark.parametrize("page", PAGES)
def test_reference_pages_are_what_the_code_says(page):
    """`python docs/reference.py` writes them."""
    assert (ROOT / "docs" / page).read_text() == load(ROOT / "docs" / "reference.py").PAGES[page]()


@pytest.mark.parametrize("page", ["README.md", *sorted(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))])
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text()):
        if "://" not in target:
            assert ((ROOT / page).parent / target).exists(), target


def test_the_site_builds_without_a_warning(tmp_path):
    """Every page is in the navigation, and every internal link leads to a page or a heading."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path / "site"]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    assert "when it goes wrong" in (tmp_path / "site" / "search" / "search_index.json").read_text().lower()


HELP = """
import contextlib, io, json, runpy, sys
said, place = {}, sys.path[0]
for script in sys.argv[1:]:
    sys.argv, sys.path[0] = [script, "--help"], script.rpartition("/")[0]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        runpy.run_path(script, run_name="__main__")
    said[script] = out.getvalue()
print(json.dumps(said))
"""
"""Every script's help in one process, which loads handpipe and PyTorch once."""


def test_benchmarks_explain_themselves():
    scripts = [str(path) for path in sorted((ROOT / "benchmarks").glob("[!_]*.py"))]
    out = subprocess.run([sys.executable, "-c", HELP, *scripts], check=True, capture_output=True, text=True)
    said = json.loads(out.stdout)
    assert len(said) == len(scripts) > 10
    for script, text in said.items():
        assert text.startswith(f"usage: {Path(script).name}"), script
        assert "--json" in text, script
