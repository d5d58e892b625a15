"""The walls: pure math imports no machinery, and no stage imports a later one."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

STAGES = ("capture", "calibration", "triangulation", "fitting", "generation")

PURE = (
    *(
        "core.hands",
        "core.cameras",
        "core.geometry",
        "core.anatomy",
        "core.joint_order",
        "core.procedural_hand",
        "core.motion",
    ),
    "core.fisheye",
    "capture.arm",
    *("core.hand_model", "capture.rig", "capture.scenes", "triangulation.dlt", "triangulation.robust"),
    "triangulation.grouping",
    *("triangulation.tracking", "triangulation.assignment", "fitting.solver", "fitting.residuals"),
    *("triangulation.clock", "triangulation.offsets", "triangulation.shifts"),
    *("fitting.kinematics", "fitting.gauss_newton", "fitting.reprojection", "fitting.contact", "core.bvh"),
    *("calibration.bundle", "calibration.checks", "calibration.simultaneous", "calibration.world"),
    *("core.keypoints", "capture.keypoints2d", "capture.keypoints2d_names"),
    *("generation.motion", "generation.kinematics", "generation.representations"),
    *("generation.controls", "generation.canonical", "generation.interpolation", "generation.prior"),
    *("generation.denoisers", "generation.diffusion", "generation.losses", "generation.interaction"),
    *("generation.penetration", "generation.model", "generation.sampling", "generation.train"),
    *("generation.metrics", "generation.evaluator", "generation.statistics", "generation.precision"),
    *("core.gltf", "core.gltf_reader", "core.bvh_writer", "core.trc", "core.keypoint_csv", "core.npz"),
    "generation.interhand26m",
    *("generation.mesh_overlap", "generation.scores"),
)
"""Ring 1: arrays in, arrays out."""


def imports(path: Path) -> set[str]:
    """Names of the handpipe packages a file imports, from its relative imports."""
    package = path.relative_to(ROOT).parts[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            parts = (*base, *(node.module or "").split("."))
            found |= {next(part for part in (*parts, name.name) if part) for name in node.names}
    return found


@pytest.mark.parametrize("module", PURE)
def test_pure_math_imports_no_machinery(module):
    """In a fresh interpreter, so that nothing another test imported counts."""
    code = (
        f"import sys, handpipe.{module}; "
        "print([name for name in ('dask', 'distributed', 'zarr', 'cv2', 'mediapipe', 'tyro') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "path", [p for stage in ("core", *STAGES) for p in sorted((ROOT / stage).rglob("*.py"))], ids=str
)
def test_no_module_imports_a_later_stage_or_the_commands(path):
    order = ("core", *STAGES)
    here = order.index(path.relative_to(ROOT).parts[0])
    allowed = set(order[: here + 1])
    assert imports(path) <= allowed | {"__version__"}, f"{path.name} imports {imports(path) - allowed}"


def test_a_stage_meets_an_earlier_one_only_through_the_store():
    """Later stages may read clips like the first does, but never call another stage's code."""
    for stage in STAGES[1:]:
        for path in (ROOT / stage).rglob("*.py"):
            met = imports(path) - {"core", stage, "__version__"}
            assert met <= ({"capture"} if stage in ("calibration", "generation") else set()), f"{path} imports {met}"


def test_only_the_command_line_knows_the_commands():
    """The outermost ring: the commands know the pipeline, which does not know them, and none knows who parses."""
    for name in ("__init__.py", "pipeline.py", "screen.py", "summary.py"):
        assert not imports(ROOT / name) & {"commands", "cli"}, name
    paths = sorted((ROOT / "commands").glob("*.py"))
    assert len(paths) > 1
    for path in paths:
        assert imports(path) & {"pipeline", "screen"}, f"{path.name}: the check sees nothing"
        assert "cli" not in imports(path), path.name


def test_who_asks_for_help_does_not_wait_for_pytorch():
    code = (
        "import sys, handpipe.cli\n"
        "try: handpipe.cli.main(['--help'])\n"
        "except SystemExit: print([name for name in ('torch', 'diffusers', 'mediapipe') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert out.stdout.splitlines()[-1] == "[]"


def test_the_check_sees_every_form_of_import(monkeypatch, tmp_path):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "core").mkdir()
    path = tmp_path / "core" / "bad.py"
    path.write_text(
        "from ..fitting.solver import fit\nfrom .. import pipeline\nfrom .errors import X\nfrom . import hands\n"
    )
    assert imports(path) == {"fitting", "pipeline", "core"}
