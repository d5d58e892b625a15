"""Cameras in OpenCV's FileStorage files, YAML or XML, in and out.

Written is one file per rig: a sequence `cameras` of mappings with name, image_width, image_height, camera_matrix,
distortion_coefficients (the names of OpenCV's own calibration programs), rotation_matrix and translation_vector, world
to camera. A fisheye has four coefficients and says `fisheye_model: 1`, as these programs do. Read are that; a file per
camera, named by its stem; and EasyMocap's pair intri.yml and extri.yml.

Both syntaxes are read as text, lists and mappings only: no tags, no aliases, no entities, so a file can neither run
code nor unfold into more than it holds.
"""

# Ring 2: reads and writes.

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import yaml
from numpy import ndarray

from ...core.cameras import Cameras
from ...core.cameras_file import Section, assemble, camera_error, coefficients, read_camera_text
from .format import CameraFormat, parse_xml

ALIASES: Mapping[str, tuple[str, ...]] = {
    "name": ("name", "camera_name"),
    "matrix": ("camera_matrix", "K"),
    "distortions": ("distortion_coefficients", "dist", "D"),
    "rotation": ("rotation_matrix", "R", "rvec"),
    "translation": ("translation_vector", "T", "tvec"),
}
"""What a camera's entries are called; the first is what is written. A rotation is a matrix or a Rodrigues vector."""

PAIR = ("intri.yml", "extri.yml")
SUFFIXES = (".yml", ".yaml", ".xml")


class _Plain(yaml.BaseLoader):
    """YAML without types: every scalar is text, tags mean nothing, aliases are refused."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias (*name), which OpenCV does not write")
        return super().compose_node(parent, index)


def is_opencv(text: str) -> bool:
    """Whether a file's text looks like OpenCV's YAML or XML."""
    start = text.lstrip()
    return (
        start.startswith("%YAML") or (start.startswith("<") and "<opencv_storage" in start) or "!!opencv-matrix" in text
    )


def read_opencv(path: Path, text: str) -> Cameras:
    """The cameras of one file, or of a folder with one file for each; of an EasyMocap pair, either file will do.

    Raises:
        CalibrationError: not such a file, or a camera in it is incomplete; names the place.
    """
    if path.is_dir():
        files = _folder_files(path)
        if PAIR[0] not in (file.name for file in files):
            trees = {file: _tree(file, text) for file, text in files.items()}
            return assemble([_section(file, file.name, tree, file.stem) for file, tree in trees.items()], path)
        path = path / PAIR[0]
        text = files[path]
    tree = _tree(path, text)
    if "names" in tree:
        return _easymocap(path, tree)
    if "cameras" not in tree:
        return assemble([_section(path, path.name, tree, path.stem)], path)
    cameras = tree["cameras"]
    if not isinstance(cameras, list):
        raise camera_error(f"{path}: cameras", "a sequence of mappings", type(cameras).__name__, "Write it as a list.")
    return assemble([_section(path, f"cameras {i}", table, None) for i, table in enumerate(cameras)], path)


def _folder_files(folder: Path) -> dict[Path, str]:
    """OpenCV's files in a folder, with their texts."""
    files = [file for file in sorted(folder.iterdir()) if file.suffix.lower() in SUFFIXES and file.is_file()]
    return {file: text for file in files if is_opencv(text := read_camera_text(file))}


def format_opencv(cameras: Cameras, xml: bool) -> str:
    """The text of a rig's file. `cv2.FileStorage` reads it."""
    tables = [_table(cameras, i) for i in range(len(cameras))]
    return _format_xml(tables) if xml else _format_yaml(tables)


def _table(cameras: Cameras, view: int) -> dict[str, str | int | ndarray]:
    T_cam_world = cameras.T_cam_world[view]
    return {
        "name": cameras.names[view],
        "image_width": int(cameras.size_px[view, 0]),
        "image_height": int(cameras.size_px[view, 1]),
        "camera_matrix": cameras.K[view],
        **({"fisheye_model": 1} if cameras.fisheye[view] else {}),
        "distortion_coefficients": coefficients(cameras, view)[None],
        "rotation_matrix": T_cam_world[:3, :3],
        "translation_vector": T_cam_world[:3, 3:],
    }


def _format_yaml(tables: Sequence[Mapping[str, str | int | ndarray]]) -> str:
    lines = ["%YAML:1.0", "---", "cameras:"]
    for table in tables:
        lines.append("   -")
        for key, value in table.items():
            if isinstance(value, ndarray):
                rows, columns = value.shape
                data = ", ".join(map(repr, value.ravel().tolist()))
                lines += [f"      {key}: !!opencv-matrix", f"         rows: {rows}", f"         cols: {columns}"]
                lines += ["         dt: d", f"         data: [ {data} ]"]
            else:
                text = json.dumps(value, ensure_ascii=False) if isinstance(value, str) else value
                lines.append(f"      {key}: {text}")
    return "\n".join(lines) + "\n"


def _format_xml(tables: Sequence[Mapping[str, str | int | ndarray]]) -> str:
    lines = ['<?xml version="1.0"?>', "<opencv_storage>", "<cameras>"]
    for table in tables:
        lines.append("  <_>")
        for key, value in table.items():
            if isinstance(value, ndarray):
                rows, columns = value.shape
                data = " ".join(map(repr, value.ravel().tolist()))
                lines.append(f'    <{key} type_id="opencv-matrix">')
                lines += [f"      <rows>{rows}</rows>", f"      <cols>{columns}</cols>", "      <dt>d</dt>"]
                lines.append(f"      <data>{data}</data></{key}>")
            else:
                text = '"' + escape(value, {'"': "&quot;"}) + '"' if isinstance(value, str) else value
                lines.append(f"    <{key}>{text}</{key}>")
        lines.append("  </_>")
    return "\n".join([*lines, "</cameras>", "</opencv_storage>"]) + "\n"


def _section(path: Path, where: str, table: Any, name: str | None) -> Section:
    """A camera's mapping in the words of a `Section`, which checks it."""
    if not isinstance(table, dict):
        raise camera_error(f"{path}: {where}", "a mapping per camera", type(table).__name__, "Write it as OpenCV does.")
    found: dict[str, Any] = {"name": name} if name is not None else {}
    for key, aliases in ALIASES.items():
        given = [alias for alias in aliases if alias in table]
        if given:
            found[key] = _values(path, f"{where} {given[0]}", table[given[0]])
    found.setdefault("distortions", [0.0] * 4)
    found["fisheye"] = str(table.get("fisheye_model", "0")).strip().lower() in ("1", "true")
    for key in ("rotation", "translation", "matrix"):
        if key not in found:
            known = " or ".join(ALIASES[key])
            keys = ", ".join(list(table)[:8]) or "nothing"
            advice = "A file of lenses alone does not say where the cameras stand; add their poses."
            raise camera_error(f"{path}: {where}", f"the key {known}", f"only {keys}", advice)
    # Without the size the clips' is taken.
    found["size"] = [table.get("image_width", 0), table.get("image_height", 0)]
    return Section(path, where, found, None)


def _values(path: Path, where: str, value: Any) -> Any:
    """An OpenCV matrix as nested lists; anything else as it is."""
    if not isinstance(value, dict):
        return value
    try:
        # OpenCV 5 writes a vector as opencv-nd-matrix, with its sizes.
        sizes = _words(value["sizes"]) if "sizes" in value else [value["rows"], value["cols"]]
        rows, columns = (1, int(sizes[0])) if len(sizes) == 1 else (int(sizes[0]), int(sizes[1]))
        data = _words(value["data"])
    except (KeyError, IndexError, TypeError, ValueError):
        keys = ", ".join(map(str, value)) or "nothing"
        raise camera_error(
            f"{path}: {where}", "a matrix (rows, cols, dt, data)", keys, "Write it as OpenCV does."
        ) from None
    if len(data) != rows * columns:
        raise camera_error(
            f"{path}: {where}", f"{rows} x {columns} numbers", f"{len(data)}", "The file is cut off; export it again."
        )
    return [data[row * columns : (row + 1) * columns] for row in range(rows)]


def _words(value: Any) -> list[Any]:
    """A list of YAML's, or XML's text with spaces between."""
    return value.split() if isinstance(value, str) else list(value)


def _easymocap(path: Path, tree: Mapping[str, Any]) -> Cameras:
    """The pair intri.yml (names, K_<name>, dist_<name>, H_, W_) and extri.yml (R_ or Rot_<name>, T_<name>)."""
    parts = dict(tree)
    for other in (path.with_name(file) for file in PAIR):
        if other != path and other.exists():
            parts = _tree(other, read_camera_text(other)) | parts
    names = parts["names"]
    if not isinstance(names, list):
        raise camera_error(f"{path}: names", "a list of cameras", type(names).__name__, "Write it as EasyMocap does.")
    words = {
        "camera_matrix": ("K_",),
        "distortion_coefficients": ("dist_", "D_"),
        "rotation_matrix": ("Rot_", "R_"),
        "translation_vector": ("T_",),
        "image_width": ("W_",),
        "image_height": ("H_",),
    }
    sections = []
    for name in map(str, names):
        table = {
            key: parts[word + name] for key, start in words.items() for word in start[::-1] if word + name in parts
        }
        sections.append(_section(path, name, table, name))
    return assemble(sections, path)


def _tree(path: Path, text: str) -> dict[str, Any]:
    """The file as mappings, lists and text."""
    try:
        tree = _element(parse_xml(text)) if text.lstrip().startswith("<") else _yaml_tree(text)
    except (yaml.YAMLError, ET.ParseError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise camera_error(path, "OpenCV's YAML or XML", reason, "Write the file again.") from error
    if not isinstance(tree, dict):
        raise camera_error(path, "cameras by keys", type(tree).__name__, "Write it as OpenCV's FileStorage does.")
    return tree


def _yaml_tree(text: str) -> Any:
    lines = text.lstrip().splitlines()
    # OpenCV 4 writes %YAML:1.0, which is not a YAML directive.
    body = "\n".join(lines[1:] if lines and lines[0].startswith("%YAML") else lines)
    return yaml.load(body, Loader=_Plain)


def _element(element: ET.Element) -> Any:
    children = list(element)
    if not children:
        text = (element.text or "").strip()
        return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text
    if all(child.tag == "_" for child in children):
        return [_element(child) for child in children]
    return {child.tag: _element(child) for child in children}


FORMAT = CameraFormat(
    name="opencv",
    title="OpenCV's `cv2.FileStorage`, and EasyMocap's pair `intri.yml` and `extri.yml`",
    suffixes=SUFFIXES,
    reads="YAML or XML, one file for the rig or a folder with a file per camera, see below",
    writes="one file for the rig; XML if its name ends in .xml, else YAML",
    recognises=lambda path, text: is_opencv(text) or (path.is_dir() and bool(_folder_files(path))),
    read=lambda path, text, part: read_opencv(path, text),
    write=lambda path, cameras: {path: format_opencv(cameras, xml=path.suffix.lower() == ".xml")},
    names="`name`, or the file's stem",
    pose="matrix, or a Rodrigues vector; world to camera",
    lens="k1, k2, p1, p2, k3; fisheye",
)
