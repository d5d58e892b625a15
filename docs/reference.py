"""Write docs/configuration.md, docs/store.md and the tables of formats from the code, so that they cannot disagree.

python docs/reference.py
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

from handpipe.core import schema
from handpipe.core.schema import Columns
from handpipe.exchange.datasets.format import DatasetFormat
from handpipe.exchange.formats import formats_of
from handpipe.exchange.keypoints2d.format import keypoints2d_formats
from handpipe.exchange.motion.format import motion_formats
from handpipe.pipeline import Config, NamedSession
from handpipe.rendering.settings import SynthesisSettings

DOCS = Path(__file__).parent

STORE_INTRO = """\
# The store

Everything computed is a [Zarr v3](https://zarr.dev) store with named dimensions: `xarray.open_zarr(path, group=...)`, or any Zarr
reader. Lengths are metres. Missing is NaN, -1 or false, never 0. Axes `hand`, `joint`, `view`, `xy`, `xyz` carry their labels.

Attributes of each group: `fps`, `fingerprint` (settings, inputs, code version: what the numbers were computed from), `complete`,
and what is listed below; of each array: `units` and `description`; of the root: `schema_version`, `handpipe_version`. Subgroups
named `_engine`, and the groups `_calibration`, `_content` and `_written`, are the engine's own notes.

`truth.zarr` of a synthetic session has the groups `cameras` and `mano`, and `clips`, a journal of what was filmed.
"""

CONFIG_INTRO = """\
# Settings

Defaults live in the code; over them come handpipe's `pipeline.yaml`, a file given by `--config`, the session's `session.yaml`, and
flags, in this order, key by key. A flag is the key's path with dots, underscores as dashes: `fitting.robust_scale` is
`--fitting.robust-scale`; the keys under `engine` are flags without the prefix (`--workers`). Unknown keys and wrong types are errors.
"""

GROUPS: dict[str, tuple[Columns, str]] = {
    "board": (schema.BOARD, "the calibration board in every frame of its clips; attribute `board` describes it"),
    "cameras": (
        schema.CAMERAS,
        "the rig; attributes `source`, `without_calibration`; from a board `board_px`, `board_mm`, `held_out_px`, `held_out_mm`, "
        "`held_out_frames`, `weak_views`, `reasons`, `warnings`",
    ),
    "timeline": (schema.TIMELINE, "which frames belong to the same instant, and when they were taken; attribute `fps`"),
    "detections": (
        schema.DETECTIONS,
        "what the detector found; attribute `hands_found`: share of images with 0, 1, 2, ... hands",
    ),
    "clock": (
        schema.CLOCK,
        "when every image was taken (docs/time.md); attribute `moves`: whether detections have to be moved to the instants",
    ),
    "aligned": (
        schema.DETECTIONS,
        "only where the clock moves them: the detections as they would be had all images been taken at the instant",
    ),
    "groups": (schema.GROUPS, "candidates of all views grouped into hands, frame by frame, without identity"),
    "tracks": (schema.TRACKS, "which of those is which hand, over the whole session"),
    "second_look": (
        schema.SECOND_LOOK,
        "what crops showed of hands that a view had missed; attributes `looks_per_image`, `found`: share of the looks",
    ),
    "keypoints": (schema.KEYPOINTS, "3D joints; attribute `reprojection_px`: median of the used detections"),
    "shape": (schema.SHAPE, "what is constant over the session: the hands' shape and the detector's habits"),
    "mano": (schema.MANO, "the fitted hands; attribute `hand_model`: ids of the left and right model"),
    "mano (generated)": (
        schema.GENERATED,
        "the group `mano` of what `handpipe generate` writes; attributes `hand_model`, `checkpoint`, `keyframes`",
    ),
    "controls (generated)": (
        schema.CONTROLS,
        "the group `controls` of what `handpipe generate` writes: what every sample was to obey",
    ),
    "scenes (augmented)": (
        schema.SCENES,
        "what `handpipe augment` drew for each sequence; [augmentation.md](augmentation.md)",
    ),
    "cameras (augmented)": (schema.AUGMENTED_CAMERAS, "its cameras"),
    "mano (augmented)": (schema.AUGMENTED_MANO, "its hands; attribute `hand_model`"),
    "labels": (schema.AUGMENTED, "what is where in its pictures"),
}


def store_page() -> str:
    parts = [STORE_INTRO]
    for name, (columns, meaning) in GROUPS.items():
        parts.append(
            f"## `{name}`\n\n{meaning[0].upper()}{meaning[1:]}.\n\n| array (dimensions) | type | units | meaning |"
        )
        parts[-1] += "\n| --- | --- | --- | --- |\n"
        for array, (axes, dtype, _, units, text) in columns.items():
            parts[-1] += f"| `{array}` ({', '.join(axes.split())}) | {dtype} | {units} | {text} |\n"
    return "\n".join(parts)


def field_docs(cls: type) -> dict[str, str]:
    """The strings that stand under a class's fields."""
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(node, ast.ClassDef)
    docs = {}
    for field, text in zip(node.body, node.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            assert isinstance(text.value, ast.Constant)
            docs[field.target.id] = " ".join(str(text.value.value).split())
    return docs


def show(value: Any) -> str:
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def table(prefix: str, cls: Any) -> str:
    docs = field_docs(cls)
    rows = []
    for field in fields(cls):
        default = field.default if field.default is not MISSING else None
        if is_dataclass(default) or field.name in ("sessions", "synthesize"):
            continue
        rows.append(f"| `{prefix}{field.name}` | {show(default)} | {docs.get(field.name, '')} |\n")
    return "| key | default | meaning |\n| --- | --- | --- |\n" + "".join(rows)


def configuration_page() -> str:
    parts = [CONFIG_INTRO, "## General\n\n" + table("", Config)]
    for field in fields(Config):  # type: ignore[arg-type]
        if is_dataclass(field.default):
            cls = type(field.default)
            parts.append(f"## `{field.name}`\n\n{(cls.__doc__ or '').strip()}\n\n{table(f'{field.name}.', cls)}")
    parts.append(f"## `sessions`\n\nSessions by name.\n\n{table('sessions.NAME.', NamedSession)}")
    parts.append(table("sessions.NAME.synthesize.", SynthesisSettings))
    return "\n".join(parts)


def rows_of(head: str, rows: list[list[str]]) -> str:
    lines = [head, "| --- " * (head.count("|") - 1) + "|", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines) + "\n"


def with_format_table(name: str, mark: str, table: str) -> str:
    """A page written by hand, with the table between its two markers replaced."""
    begin, end = f"<!-- {mark} -->\n", f"<!-- end of {mark} -->\n"
    before, rest = (DOCS / name).read_text().split(begin)
    return before + begin + table + end + rest.split(end)[1]


def exporting_page() -> str:
    rows = [
        [f"`{each.name}`", f"`{each.suffixes[0]}`", each.title, each.writes, each.loses]
        + [f"`handpipe import {each.read_back.split()[0]}`: {each.comes_back}" if each.read_back else ""]
        for each in motion_formats().values()
    ]
    head = "| format | file | what it is | written | not in it | read back |"
    return with_format_table("exporting.md", "motion formats", rows_of(head, rows))


def datasets_page() -> str:
    rows = [
        [f"`{each.name}`", each.title, each.writes, each.reads, each.comes_back, each.loses]
        for each in formats_of("datasets", DatasetFormat).values()
    ]
    head = "| format | what it is | written | read | comes back | not in it |"
    return with_format_table("datasets.md", "dataset formats", rows_of(head, rows))


def importing_page() -> str:
    rows = [[each.title, f"`{each.suffixes[0]}`", each.reads, each.sides] for each in keypoints2d_formats().values()]
    head = "| format | file | what is read | left and right |"
    return with_format_table("importing.md", "formats of 2D hands", rows_of(head, rows))


PAGES = {
    "store.md": store_page,
    "configuration.md": configuration_page,
    "exporting.md": exporting_page,
    "datasets.md": datasets_page,
    "importing.md": importing_page,
}


def main() -> None:
    for name, page in PAGES.items():
        (DOCS / name).write_text(page())
        print(f"written: {DOCS / name}", file=sys.stderr)


if __name__ == "__main__":
    main()
