"""The page of a recording in headless Chromium: fifty views, on a desk and on a telephone, and who may see it."""

from __future__ import annotations

import base64
import shutil
import urllib.error
import urllib.request
from typing import Any

import cv2
import numpy as np
import pytest

from handpipe.capture.recording.camera import RecordingError
from handpipe.capture.recording.live.page import Page
from handpipe.capture.recording.live.pictures import WIDTH_PX, Pictures

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
VIEWS = [f"cam_{n:02}" for n in range(50)]


def picture(value: int) -> np.ndarray:
    y, x = np.mgrid[:256, :320]
    return ((x // 20 + y // 20) % 2 * 120 + value).astype(np.uint8)


def shown(guided: bool) -> dict[str, Any]:
    """The state of a recording of fifty views; one is unplugged, one has lost frames."""
    cameras = [
        {"name": name, "frames": 900 + n, "missing": 3 * (n == 7), "rate": 30.0, "queue": 4 * (n == 7), "capacity": 6,
         "bytes": 10**7, "state": "disconnected" if n == 12 else "recording", "size": [320, 256]}
        for n, name in enumerate(VIEWS)
    ]  # fmt: skip
    make = Pictures(dict.fromkeys(VIEWS, "gray"))
    state: dict[str, Any] = {
        "title": "monday/calibration", "seconds": 31.0, "free": 4e11, "left_s": 5400.0, "cameras": cameras,
        "pictures": make({name: picture(2 * n) for n, name in enumerate(VIEWS)}),
    }  # fmt: skip
    if guided:
        rng = np.random.default_rng(0)
        state["guidance"] = {
            "names": VIEWS, "text": "Show the board to cam_07 and cam_12 together.", "next": ["cam_07", "cam_12"],
            "facts": "24 frames of the board; 41 of 50 cameras calibrated.", "problems": [], "enough": False,
            "calibrated": [n < 41 for n in range(50)],
            "covered": {name: (rng.random(36) < 0.4).tolist() for name in VIEWS},
            "shared": [[n, (n + step) % 50, 6 - step] for n in range(41) for step in (1, 2, 3)],
        }  # fmt: skip
    return state


@pytest.fixture(scope="module")
def browser():
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install -e '.[test]')")
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed (apt-get install chromium)")
    with driver.sync_playwright() as running:
        chromium = running.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-component-update"]
        )
        yield chromium
        chromium.close()


@pytest.mark.parametrize(("width", "height", "scheme"), [(1280, 720, "light"), (390, 844, "dark")])
def test_fifty_views_in_a_browser(browser, tmp_path, width, height, scheme):
    with Page("127.0.0.1", 0) as page:
        page.update(**shown(guided=True))
        tab = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        wrong, asked = [], []
        tab.on("console", lambda m: wrong.append(m.text) if m.type in ("error", "warning") else None)
        tab.on("pageerror", lambda error: wrong.append(str(error)))
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(page.url)
        # The page's policy forbids the scripts by which `wait_for_function` would wait.
        tab.locator("#wall article").nth(49).wait_for()
        decoded = "i => i.decode().then(() => i.naturalWidth > 0)"
        script = f"Promise.all([...document.querySelectorAll('#wall img')].map({decoded}))"
        assert tab.evaluate(script) == [True] * 50
        assert tab.locator("#advice").inner_text() == shown(True)["guidance"]["text"]
        assert tab.locator("article.next").count() == 2
        assert tab.locator("article.trouble").count() == 2
        assert "3 missing" in tab.locator("article").nth(7).inner_text()
        assert tab.locator("#graph circle.ok").count() == 41
        # Nothing is wider than the window, and what comes later is shown.
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.update(seconds=95.0)
        tab.locator("#time", has_text="1:35").wait_for()
        tab.screenshot(path=tmp_path / "page.png")
        assert not wrong
        assert all(url.startswith((page.url, "data:", page.url.replace("http", "ws"))) for url in asked)
        tab.close()


def status(url: str, **headers: str) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_only_who_has_the_token_sees_the_page_in_a_network():
    with Page("0.0.0.0", 0) as page:
        bare = f"http://127.0.0.1:{page.port}"
        assert status(f"{bare}/?token={page.token}") == 200
        assert status(f"{bare}/") == status(f"{bare}/?token=x") == status(f"{bare}/live") == 403


def test_on_this_computer_another_name_for_it_is_refused():
    with Page("127.0.0.1", 0) as page:
        assert not page.token
        assert status(page.url) == 200
        assert status(page.url, Host="example.org") == 403
        with pytest.raises(RecordingError, match="expected an address of this computer with a free port"):
            Page("127.0.0.1", page.port)


def test_pictures_are_small_and_say_how_they_are_exposed():
    make = Pictures({"a": "gray", "b": "bayer_rggb8"})
    image = picture(60)
    image[:64] = 255
    found = make({"a": image, "b": image})
    small = cv2.imdecode(np.frombuffer(base64.b64decode(found["a"]["jpeg"]), np.uint8), cv2.IMREAD_UNCHANGED)
    assert small is not None
    assert small.shape == (192, WIDTH_PX)
    assert found["a"]["clipped"] == pytest.approx(0.25, abs=0.01)
    assert found["a"]["sharp"] == 1.0
    assert make({"a": cv2.GaussianBlur(image, (0, 0), 4)})["a"]["sharp"] < 0.5
