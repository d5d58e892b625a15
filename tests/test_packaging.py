"""The package: what a wheel carries, and that it stands alone."""

from __future__ import annotations

import subprocess
import sys
import zipfile

import pytest
from paths import ROOT, product_files


def modules() -> list[str]:
    """Every module of the tree, by its import name."""
    files = product_files()
    names = [".".join(("handpipe", *path.relative_to(ROOT).with_suffix("").parts)) for path in files]
    return sorted(name.removesuffix(".__init__") for name in names)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """sdist -> wheel, as an index would have it."""
    out = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "build", "--outdir", out, ROOT], check=True, capture_output=True)
    (found,) = out.glob("*.whl")
    return found


def test_the_wheel_has_every_module_and_the_settings_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
    files = [
        *product_files(),
        ROOT / "pipeline.yaml",
        ROOT / "py.typed",
        *(p for p in (ROOT / "reporting/assets").rglob("*") if p.is_file()),
        ROOT / "capture/recording/live/page.html",
    ]
    expected = {f"handpipe/{path.relative_to(ROOT)}" for path in files}
    assert set(names) == expected


def test_the_wheel_imports_in_an_empty_environment(wheel, tmp_path):
    """Its own folder and the dependencies, nothing of this checkout; every module."""
    site = tmp_path / "site"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site, wheel]
    subprocess.run(command, check=True, capture_output=True)
    code = (
        "import importlib, sys; sys.path = [sys.argv[1]] + [p for p in sys.path if '.dev' not in p]\n"
        "for name in sys.argv[2:]: importlib.import_module(name)\n"
        "import handpipe; assert handpipe.__file__.startswith(sys.argv[1]), handpipe.__file__\n"
        "from handpipe.settings import load_config; assert 'capture-session' in load_config(None, None)[0].sessions"
    )
    subprocess.run([sys.executable, "-P", "-c", code, str(site), *modules()], check=True, cwd=tmp_path)
