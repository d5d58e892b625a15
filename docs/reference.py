"""Write docs/configuration.md, docs/store.md and the tables of formats from the code, so that they cannot disagree.

python docs/reference.py
"""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import handpipe
from handpipe.core.config import Key, keys
from handpipe.core.storage import schema
from handpipe.core.storage.schema import Columns
from handpipe.exchange.cameras.formats import FORMATS as CAMERA_FORMATS
from handpipe.exchange.datasets.format import DatasetFormat
from handpipe.exchange.formats import formats_of
from handpipe.exchange.keypoints2d.format import keypoints2d_formats
from handpipe.exchange.motion.format import motion_formats
from handpipe.rendering.settings import SynthesisSettings
from handpipe.settings import Config, NamedSession

DOCS = Path(__file__).parent

STORE_INTRO = """\
# The store

Everything computed is a [Zarr v3](https://zarr.dev) store with named dimensions: `xarray.open_zarr(path, group=...)`, or any Zarr
reader; `xarray.open_datatree(path)` opens all groups at once. Lengths are metres. Missing is NaN, -1 or false, never 0. Axes `hand`,
`joint`, `view`, `xy`, `xyz` carry their labels.

Attributes of each group: `fps`, `fingerprint` (settings, inputs, code version: what the numbers were computed from), `complete`,
and what is listed below; of each array: `units` and `description`; of the root: `schema_version`, `handpipe_version`. Subgroups
named `_engine`, and the groups `_calibration`, `_content` and `_written`, are the engine's own notes.

Every chunk ends with its CRC-32C (Zarr's codec `crc32c`), also a chunk of nothing but missing values, which Zarr would otherwise leave
out. The attribute `checksums` of a group has digests of its other attributes and of the metadata of its arrays. handpipe checks all of
these when it reads: a missing or damaged chunk is an error that names array, view and frames. Other Zarr readers check the CRC-32C only.
`handpipe verify SESSION` checks the whole store and the clips, and `--repair` computes again what is damaged
([engine.md](engine.md)). Stores written before there were checksums open as before; `verify` lists their groups.

`truth.zarr` of a synthetic session has the groups `cameras` and `mano`, and `clips`, a journal of what was filmed.
"""

CONFIG_INTRO = """\
# Settings

Values come from these places, later ones overriding earlier ones key by key: the defaults in the code, handpipe's `pipeline.yaml`, a
file given by `--config`, the session's `session.yaml`, and flags. `handpipe config SESSION` prints the result and the origin of each
value. Unknown keys and wrong types are errors.

Every key has a flag of the same path, with dashes for underscores: `fitting.robust_scale` is `--fitting.robust-scale`. Every command
that takes `--config` accepts all of these flags; its `--help` lists the common ones, its `--help-all` all that it uses. Values that are
lists of mappings or mappings are written as YAML: `--sessions '{mine: {path: /data/mine}}'`. Some sections may be left out of a flag:
`engine` in every command (`--workers`), and `training`, `sampling`, `evaluator`, `evaluation`, `synthesis`, `augmentation` and
`detector_training` in `train-diffusion`, `generate`, `train-evaluator`, `evaluate`, `synthesize`, `augment` and `train-detector`, where
e.g. `--steps` is `--training.steps`. In
`train-diffusion`, `train-evaluator` and `synthesize`, `--fps` is therefore the frame rate of that section, not the key `fps`.
"""

GROUPS: dict[str, tuple[Columns, str]] = {
    "board": (schema.BOARD, "the calibration board in every frame of its clips; attribute `board` describes it"),
    "intrinsics": (
        schema.BOARD,
        "only with clips in `intrinsics/`: the board in every frame of them; frames of different views are not simultaneous",
    ),
    "cameras": (
        schema.CAMERAS,
        "the rig; attributes `source`, `without_calibration`, `solver` (if not handpipe's); from a board `board_px`, "
        "`board_mm`, `held_out_px`, `held_out_mm`, `held_out_frames`, `weak_views`, `by_others`, `by_others_mm`, "
        "`late_views`, `delays_corrected`, `reasons`, `warnings`",
    ),
    "timeline": (schema.TIMELINE, "which frames belong to the same instant, and when they were taken; attribute `fps`"),
    "first_look": (
        schema.DETECTIONS,
        "only with `detection.regions: space`: what the detector found in the images that are searched first",
    ),
    "first_groups": (schema.GROUPS, "only with `first_look`: its candidates grouped into hands"),
    "places": (
        schema.PLACES,
        "only with `first_look`: where the hands are expected in every frame; attributes `step`, `stride`: every how many "
        "frames, and one of how many views, were searched",
    ),
    "detections": (
        {**schema.DETECTIONS, **schema.UNCERTAINTY, **schema.FOUND_BY},
        "what the detector found (`sigma` only of detectors that say it, `found_by` where several vote); attribute `hands_found`: share of images with "
        "0, 1, 2, ... hands",
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
    "looks": (schema.LOOKS, "in which images a second look is taken; all views of a frame share a budget"),
    "second_look": (
        {**schema.SECOND_LOOK, **schema.LOOK_UNCERTAINTY},
        "what the detector found of hands that a view had missed, told where they are; attributes `looks_per_image`, `found`: share of the looks",
    ),
    "keypoints": (schema.KEYPOINTS, "3D joints; attribute `reprojection_px`: median of the used detections"),
    "quality": (
        schema.QUALITY,
        "whether the result can be used; attributes `verdict`, and `checks` with name, severity, value, limit, view, "
        "reason and remedy of each",
    ),
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


def show(value: Any) -> str:
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def table(prefix: str, of: Iterable[Key]) -> str:
    rows = [f"| `{prefix}{key}` | {show(key.default)} | {key.help} |\n" for key in of]
    return "| key | default | meaning |\n| --- | --- | --- |\n" + "".join(rows)


def configuration_page() -> str:
    found = list(keys(Config))
    general = [key for key in found if len(key.path) == 1 and not key.is_section and str(key) != "sessions"]
    parts = [CONFIG_INTRO, "## General\n\n" + table("", general)]
    for section in found:
        if section.is_section:
            own = [key for key in found if key.path[:-1] == section.path and not key.is_section]
            parts.append(f"## `{section}`\n\n{section.help}\n\n{table('', own)}")
    sessions = [key for key in keys(NamedSession) if str(key) == "path"]
    parts.append(f"## `sessions`\n\nSessions by name.\n\n{table('sessions.NAME.', sessions)}")
    parts.append(table("sessions.NAME.synthesize.", keys(SynthesisSettings)))
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


def cameras_page() -> str:
    rows = [
        "| format | what it is | read | written | names of the views | rotation and translation | unit | pixel (0, 0) "
    ]
    rows[0] += "| lens | lost on export |"
    rows.append("| --- " * 10 + "|")
    for name, format in CAMERA_FORMATS.items():
        lost = (format.loses or "nothing") if format.writes else "is not written"
        cells = [f"`{name}`", format.title, format.reads, format.writes or "no", format.names, format.pose]
        rows.append(f"| {' | '.join([*cells, f'{format.unit_m:g} m', format.pixel, format.lens, lost])} |")
    return with_format_table("cameras.md", "table", "\n".join(rows) + "\n")


PYTHON_INTRO = """\
# handpipe from Python

```python
import handpipe as hp

s = hp.open("capture-session")  # after `handpipe run capture-session`, or hp.run("capture-session")
s.verdict  # 'good'
s.mano.joints.sel(hand="left", joint="index_tip")  # (frame, xyz) metres, with `time` along `frame`
vertices = s.vertices("left")  # (frame, 778, 3) metres
s.faces["left"]  # (face, 3)
s.plot("residual")
s.report()  # writes capture-session/report.html
```

`import handpipe` is quick; what a name needs is imported when it is used. All names are typed. Errors that a user can cause are
`hp.HandpipeError`; their text says what was expected, what was found and what to do. In the examples below, `session` is a session
folder, `checkpoint` a folder that `handpipe train-diffusion` wrote, and `out` a place for a store.

`xarray.open_datatree("capture-session/session.zarr", engine="zarr")` opens the same results without handpipe;
[store.md](store.md) lists their arrays. If it fails with "missing the `dimension_names` metadata", an earlier handpipe wrote the store: use
`hp.open("capture-session").tree`.
"""

_SECTION = re.compile(r"^(Args|Returns|Raises|Examples):$", re.MULTILINE)


def python_page() -> str:
    """The public names, from their docstrings."""
    parts = [PYTHON_INTRO]
    for name in ("open", "run", "triangulate", "fit", "generate"):
        parts.append(_documented(f"hp.{name}", getattr(handpipe, name), "##"))
    parts.append(_documented("hp.Session", handpipe.Session, "##"))
    for name, member in vars(handpipe.Session).items():
        if not name.startswith("_") and (isinstance(member, property) or callable(member)):
            parts.append(_documented(f"Session.{name}", member, "###"))
    return "\n".join(parts)


def _documented(name: str, what: Any, level: str) -> str:
    """A heading with the signature, and the docstring as Markdown."""
    called = what.fget if isinstance(what, property) else what
    shown = name if isinstance(what, property | type) else f"{name}{_signature(called)}"
    text, *sections = _SECTION.split(inspect.getdoc(called) or "")
    parts = [f"{level} `{name}`\n"]
    if shown != name:
        parts.append(f"```python\n{shown}\n```\n")
    parts.append(f"{text.strip()}\n")
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        body = textwrap.dedent(body).strip()
        if title == "Examples":
            parts.append(f"```pycon\n{body}\n```\n")
        elif title == "Returns":
            parts.append(f"Returns:\n\n{body}\n")
        else:
            entries = re.sub(r"\n +", " ", body).splitlines()
            rows = [re.sub(r"^([\w, ]+):", r"- `\1`:", entry) for entry in entries]
            parts.append({"Args": "Arguments:", "Raises": "Errors:"}[title] + "\n\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def _signature(called: Any) -> str:
    """Without `self`; one argument a line where it is long."""
    found = inspect.signature(called)
    arguments = [each for each in found.parameters.values() if each.name != "self"]
    short = str(found.replace(parameters=arguments))
    if len(short) < 100:
        return short
    star = next((i for i, each in enumerate(arguments) if each.kind is each.KEYWORD_ONLY), None)
    # Annotations are text, quoted.
    lines = [re.sub(r"^(\w+): (['\"])(.*)\2( =|$)", r"\1: \3\4", str(each)) for each in arguments]
    if star is not None:
        lines.insert(star, "*")
    return "(\n" + "".join(f"    {line},\n" for line in lines) + f") -> {found.return_annotation}"


def index_page() -> str:
    """The site's first page: the README, with links as they are from this folder."""
    text = (DOCS.parent / "README.md").read_text()
    return re.sub(r"\]\((?:docs/)?([^):]+)\)", r"](\1)", text)


PAGES = {
    "index.md": index_page,
    "python.md": python_page,
    "store.md": store_page,
    "configuration.md": configuration_page,
    "cameras.md": cameras_page,
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
