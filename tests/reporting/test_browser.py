"""The report as a browser shows it: headless Chromium, by night and by day, on a telephone and on paper."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from stored_motions import clip, generated

from handpipe.cli import main

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install -e '.[test]')")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (apt-get install chromium)")

QUIET = ("--no-sandbox", "--no-first-run", "--disable-background-networking", "--disable-component-update")
SOFTWARE_WEBGL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader")

MAX_SCRIPT_MS = 33.0
"""Of script for a frame of the player."""


@dataclass
class Opened:
    """A page, and what went wrong in it."""

    page: Any
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def run(self, script: str) -> Any:
        return self.page.evaluate(script)


@pytest.fixture(scope="module")
def report(computed, tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "report.html"
    assert main(["report", str(computed), "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=[*QUIET, *SOFTWARE_WEBGL])
        yield chromium
        chromium.close()


def opened(browser: Any, report: Any, **options: Any) -> Opened:
    """The report, when its charts are drawn."""
    found = Opened(browser.new_page(**{"viewport": {"width": 1280, "height": 900}, **options}))
    found.page.on("console", lambda m: found.errors.append(m.text) if m.type in ("error", "warning") else None)
    found.page.on("pageerror", lambda error: found.errors.append(str(error)))
    outside = ("http:", "https:", "ws:", "wss:")
    found.page.on("request", lambda r: found.requests.append(r.url) if r.url.startswith(outside) else None)
    found.page.goto(report.as_uri())
    found.run("window.reportReady")
    return found


@pytest.fixture(scope="module")
def light(browser, report) -> Iterator[Opened]:
    found = opened(browser, report)
    yield found
    found.page.close()


def test_every_chart_is_drawn(light):
    drawn = light.run(
        "[...document.querySelectorAll('.plot')].map(p => [p.dataset.chart, p.querySelectorAll('svg path').length])"
    )
    assert len(drawn) == 9
    assert all(paths > 3 for _, paths in drawn), drawn


def test_it_plays_with_both_meshes_in_time(light):
    light.run("player.show(0)")
    light.run("player.state.speed = 0.25; player.state.scriptMs.length = 0; player.play(true)")
    light.page.wait_for_function("player.state.at >= 3")
    light.run("player.play(false)")
    frames = light.run("player.frames.length")
    for at in range(frames):
        light.run(f"player.show({at})")
        light.run("player.ready()")
    assert light.run("player.meshes.map(m => m.mesh.visible)") == [True, True]
    times = sorted(light.run("player.state.scriptMs"))
    # The fastest quarter: whatever else runs on the machine only makes a frame slower.
    assert times[len(times) // 4] <= MAX_SCRIPT_MS


def test_both_meshes_are_in_the_picture(light):
    """Orange and blue pixels on the canvas, and others after the residual is shown."""
    count = """on => {
      player.colorBy(on); player.show(3);
      const canvas = document.createElement('canvas'), space = document.getElementById('space');
      [canvas.width, canvas.height] = [space.width, space.height];
      const context = canvas.getContext('2d');
      context.drawImage(space, 0, 0);
      const d = context.getImageData(0, 0, canvas.width, canvas.height).data;
      let orange = 0, blue = 0;
      for (let i = 0; i < d.length; i += 4) {
        if (d[i + 3] > 200 && d[i] > d[i + 2] + 90) orange++;
        if (d[i + 3] > 200 && d[i + 2] > d[i] + 70) blue++;
      }
      return [orange, blue];
    }"""
    orange, blue = light.page.evaluate(count, False)
    assert min(orange, blue) > 300
    residual = light.page.evaluate(count, True)
    light.run("player.colorBy(false)")
    assert residual != [orange, blue]


def test_the_pictures_change_with_the_frame(light):
    picture = "(at) => { player.show(at); return player.ready().then(() => player.views[0].canvas.toDataURL()); }"
    first, last = (light.page.evaluate(picture, at) for at in (0, 6))
    assert first != last
    assert len(light.run("player.views.map(v => v.name)")) == 6


def test_mouse_and_keyboard_move_the_same_time_line(light):
    at = "player.state.at"
    light.run("player.show(0)")
    light.page.locator("#time").fill("5")
    assert light.run(at) == 5
    light.page.locator("h1").click()
    light.page.keyboard.press("ArrowRight")
    assert light.run(at) == 6
    light.page.keyboard.press("Home")
    assert light.run(at) == 0
    light.page.keyboard.press("End")
    assert light.run(at) == light.run("player.frames.length") - 1
    light.page.keyboard.press("r")
    assert light.run("player.state.residual")
    light.page.keyboard.press("r")
    light.page.keyboard.press("Home")
    light.page.keyboard.press("Space")
    assert light.run("player.state.playing")
    light.page.keyboard.press("Space")
    assert not light.run("player.state.playing")
    light.page.locator(".go").first.click()
    assert light.run("player.frames[player.state.at]") == int(
        light.page.locator(".go").first.get_attribute("data-frame")
    )


def test_a_click_in_a_chart_goes_to_its_frame(light):
    box = light.page.locator("#chart-jitter svg").bounding_box()
    light.run("player.show(0)")
    light.page.locator("#chart-jitter svg").click(position={"x": box["width"] - 15, "y": box["height"] / 2})
    assert light.run("player.state.at") == light.run("player.frames.length") - 1
    light.page.wait_for_timeout(400)
    assert light.run("document.querySelectorAll('#chart-jitter svg .mark-rule line').length") >= 1


def test_a_picture_sets_the_3d_view_to_its_camera(light):
    light.page.locator("#pictures button").first.click()
    assert light.run("document.getElementById('labels').children.length") == 6
    light.page.locator("#far").click()


def test_nothing_went_wrong_and_nothing_was_asked_for(light):
    assert light.errors == []
    assert light.requests == []


@pytest.mark.parametrize("look", ["dark", "narrow", "print"])
def test_every_look_is_readable(browser, report, look):
    options: dict[str, dict[str, Any]] = {
        "dark": {"color_scheme": "dark"},
        "narrow": {"viewport": {"width": 390, "height": 844}},
        "print": {"color_scheme": "dark"},
    }
    found = opened(browser, report, **options[look])
    if look == "print":
        found.page.emulate_media(media="print")
    assert found.run("document.documentElement.scrollWidth <= innerWidth")
    shade = "getComputedStyle(document.body).{}.match(/[0-9]+/g).slice(0, 3).reduce((a, b) => a + +b, 0)"
    paper, ink = (found.run(shade.format(name)) for name in ("backgroundColor", "color"))
    assert abs(paper - ink) > 450
    assert (paper < ink) == (look == "dark")
    if look == "print":
        assert len(found.page.pdf(print_background=True)) > 100_000
    assert found.errors == []
    found.page.close()


def test_generated_motion_plays(browser, tmp_path):
    made = generated(tmp_path / "made.zarr", [clip(24), clip(24, seed=5)])
    assert main(["report", str(made)]) == 0
    found = opened(browser, tmp_path / "made.html")
    assert found.run("window.player.meshes.length") == 4
    before = found.run("window.player.drawn")
    found.run("window.player.play(true)")
    found.page.wait_for_function("window.player.state.at > 5")
    assert found.run("window.player.drawn") >= before
    assert (found.errors, found.requests) == ([], [])
    found.page.close()
