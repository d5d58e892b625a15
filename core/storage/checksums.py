"""Digests of metadata: a group's attributes carry one of themselves, and one of every node below the group.

The attribute `checksums` of a group is a table: `attributes` is the digest of the group's name and of all its other
attributes, `nodes` the digest of the metadata of every array and subgroup that was made with it. So one file says
whether any metadata of the group has changed, and is replaced in one step. Groups of older stores have no table.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

CHECKSUMS = "checksums"


def digest(value: Any) -> str:
    """SHA-256 of a JSON value in canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def short_digest(value: Any) -> str:
    """16 hexadecimal digits of the digest of what JSON gives back of a value; NaN and infinity may be in it."""
    plain = json.loads(json.dumps(value))
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def sealed(group: str, attributes: Mapping[str, Any], nodes: Mapping[str, str]) -> dict[str, Any]:
    """The attributes with their checksums.

    Args:
        group: its name, "" for the root.
        attributes: all others.
        nodes: digest of the metadata of each node below, by its path in the group.
    """
    others = {name: value for name, value in attributes.items() if name != CHECKSUMS}
    table = {"attributes": short_digest([group, others, nodes]), "nodes": dict(nodes)}
    return {**others, CHECKSUMS: table}


def is_sealed(attributes: Mapping[str, Any]) -> bool:
    """Whether they carry checksums, right or wrong."""
    return CHECKSUMS in attributes


def nodes_of(attributes: Mapping[str, Any]) -> dict[str, str]:
    """Digests of the nodes below a group; empty where it carries none."""
    table = attributes.get(CHECKSUMS)
    nodes = table.get("nodes") if isinstance(table, Mapping) else None
    return dict(nodes) if isinstance(nodes, Mapping) else {}


def intact(group: str, attributes: Mapping[str, Any]) -> bool:
    """Whether the attributes of a group are those that were sealed; true for those that carry no checksums."""
    return not is_sealed(attributes) or sealed(group, attributes, nodes_of(attributes)) == dict(attributes)
