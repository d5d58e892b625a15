"""The documentation: true, and running."""

from __future__ import annotations

import importlib.util
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


@pytest.mark.parametrize("script", sorted(p.name for p in (ROOT / "benchmarks").glob("[!_]*.py")))
def test_benchmarks_explain_themselves(script):
    command = [sys.executable, ROOT / "benchmarks" / script, "--help"]
    out = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "--json" in out.stdout
