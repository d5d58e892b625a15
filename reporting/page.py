"""A page of a report: one HTML file with its data, styles and scripts inside."""

# Ring 2: reads and writes.

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from .. import __version__
from .charts import Chart

ASSETS = Path(__file__).with_name("assets")
"""The pages' templates, styles and scripts, and the libraries that they use, each with its licence."""


def page(template: str, player: Mapping[str, Any] | None, charts: Sequence[Chart], **facts: Any) -> str:
    """The HTML.

    Args:
        template: its file in assets/.
        player: what assets/player.js draws; None: no player.
        charts: on the page.
        facts: the template's other variables.
    """
    environment = Environment(loader=FileSystemLoader(ASSETS), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    data = {"player": player, "charts": {chart.key: {"spec": chart.spec, "timed": chart.timed} for chart in charts}}
    return environment.get_template(template).render(
        player=player,
        charts={chart.key: chart for chart in charts},
        version=__version__,
        written=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        styles=Markup(_asset("report.css")),
        scripts=[Markup(_asset(name)) for name in _scripts(player is not None, bool(charts))],
        data=Markup(_json(data)),
        **facts,
    )


def _scripts(player: bool, charts: bool) -> list[str]:
    vendor = (["vendor/three.min.js"] if player else []) + (["vendor/vega.min.js", "vendor/vega-lite.min.js"])
    return [*vendor, "player.js", "report.js"] if player or charts else []


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def _json(data: Any) -> str:
    """JSON that may stand inside a script element."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
