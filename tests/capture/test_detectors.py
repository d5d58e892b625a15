"""Detectors as installed packages bring them: found by name, run by Dask's workers, kept honest."""

from __future__ import annotations

import json
import sys
import tomllib
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest
from clips import write
from paths import ROOT

from handpipe.capture.detector import Candidates, complaint_about
from handpipe.capture.installed import (
    ENTRY_POINTS,
    CheckedDetector,
    CheckedNearDetector,
    find_detector,
    make_detector,
)
from handpipe.capture.settings import DetectionSettings
from handpipe.cli import main
from handpipe.core.errors import ConfigError, ModelError
from handpipe.core.storage.store import Store

SPOT = '''
import numpy as np
from handpipe.capture.detector import Candidates

class Spot:
    """One right hand whose joints all lie on a line that starts at x = the image's brightness."""

    def __init__(self, options):
        assert options.detector == "spot"

    def detect(self, image_bgr):
        line = np.arange(21, dtype=np.float32)
        points = np.stack([round(float(image_bgr.mean()) / 20) + line, line], axis=-1)
        return Candidates(points[None], np.ones(1, np.float32), np.ones(1, np.float32))
'''


def distribution(site: Path, name: str, version: str, offers: str) -> None:
    """What `pip install` leaves of a package, as far as it concerns whoever asks for entry points."""
    info = site / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[{ENTRY_POINTS}]\n{offers}\n")


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A place for packages, on the path of this process and of those it starts."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "spot_detector.py").write_text(SPOT)
    distribution(folder, "spot", "1.2", "spot = spot_detector:Spot")
    monkeypatch.syspath_prepend(folder)
    make_detector.cache_clear()
    yield folder
    make_detector.cache_clear()
    sys.modules.pop("spot_detector", None)


@pytest.fixture
def session(tmp_path):
    root = tmp_path / "session"
    (root / "videos").mkdir(parents=True)
    for view in ("c1", "c2"):
        write(root / "videos" / f"{view}.mp4", frames=5)
    return root


def detect(capsys, root, *flags) -> tuple[int, dict, str]:
    status = main(["detect", str(root), "--json", *flags])
    out, err = capsys.readouterr()
    return status, json.loads(out) if out else {}, " ".join(err.split())


@pytest.mark.parametrize("workers", ["0", "1"], ids=["here", "Dask"])
def test_a_package_brings_a_detector(session, site, capsys, workers):
    flags = ["--detection.detector", "spot", "--workers", workers, "--chunk-frames", "2"]
    status, figures, err = detect(capsys, session, *flags)
    assert status == 0, err
    assert figures["hands_found"] == [0.0, 1.0, 0.0]
    store = Store(str(session / "session.zarr"))
    points = store.read("detections", "points")
    np.testing.assert_array_equal(points[:, :, 0, 0, 0], [[0, 1, 2, 3, 4]] * 2)
    fingerprint = store.fingerprint("detections")
    assert fingerprint is not None
    assert fingerprint["settings"]["detector"] == "spot"
    assert fingerprint["inputs"]["detector"] == "spot 1.2"
    assert "model" not in fingerprint["inputs"], "it has none"
    assert detect(capsys, session, *flags)[1]["computed"] == []


def test_another_version_or_model_of_it_is_another_result(session, site, capsys, tmp_path):
    flags = ["--detection.detector", "spot", "--workers", "0"]
    assert detect(capsys, session, *flags)[0] == 0
    (site / "spot-1.2.dist-info").rename(site / "gone")
    distribution(site, "spot", "1.3", "spot = spot_detector:Spot")
    _, figures, err = detect(capsys, session, *flags)
    assert figures["computed"] == ["detections"]
    assert "inputs.detector spot 1.2 -> spot 1.3" in err
    weights = tmp_path / "weights.bin"
    weights.write_bytes(b"heavy")
    assert detect(capsys, session, *flags, "--detection.model", str(weights))[1]["computed"] == ["detections"]
    status, _, err = detect(capsys, session, *flags, "--detection.model", str(tmp_path / "none.bin"))
    assert status == 2
    assert "none.bin: expected the model of the detector 'spot', but there is no such file" in err


def test_a_worker_with_another_version_says_so(session, site):
    from handpipe.capture.detect import plan
    from handpipe.capture.session import read_session
    from handpipe.capture.settings import CaptureSettings

    made = plan(read_session(session, CaptureSettings()), DetectionSettings(detector="spot"), {}, 4)
    (site / "spot-1.2.dist-info").rename(site / "gone")
    distribution(site, "spot", "1.3", "spot = spot_detector:Spot")
    with pytest.raises(ConfigError, match=r"expected spot 1\.2 on every worker, but found spot 1\.3"):
        list(made.tasks[0].run(made.tasks[0].units))


def test_an_unknown_name_lists_what_is_installed(session, site, capsys):
    status, _, err = detect(capsys, session, "--detection.detector", "spott")
    assert status == 2
    assert (
        "expected the name of one installed detector (mediapipe, mediapipe-torch, spot), but 'spott' is registered "
        "by no package" in err
    )
    assert "Traceback" not in err


def test_two_packages_of_one_name(site):
    distribution(site, "other-spot", "0.1", "spot = spot_detector:Spot")
    with pytest.raises(ConfigError, match=r"but 'spot' is registered by other-spot 0\.1 and spot 1\.2"):
        find_detector("spot")


@pytest.mark.parametrize("target", ["no_such_module:Spot", "spot_detector:Spott"])
def test_a_package_that_cannot_be_imported(site, target):
    distribution(site, "broken", "1", f"broken = {target}")
    with pytest.raises(ModelError, match=r"detector 'broken' of broken 1: expected .* cannot be imported"):
        find_detector("broken")


def test_handpipe_registers_mediapipe():
    text = (ROOT / "pyproject.toml").read_text()
    declared = tomllib.loads(text)["project"]["entry-points"][ENTRY_POINTS]
    assert {offer.name: offer.value for offer in entry_points(group=ENTRY_POINTS)}.items() >= declared.items()
    assert find_detector("mediapipe").version.startswith("mediapipe ")


# ---- results that are none ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Always:
    """A detector that finds the same in every image."""

    found: Candidates

    def detect(self, image_bgr: np.ndarray) -> Candidates:
        return self.found


def good(hands: int = 2) -> dict[str, np.ndarray]:
    line = np.linspace(10, 200, 21, dtype=np.float32)
    points = np.tile(np.stack([line, line / 2], axis=-1), (hands, 1, 1))
    points[:, 3] = np.nan
    return {"points_px": points, "score": np.full(hands, 0.5, np.float32), "right": np.ones(hands, np.float32)}


def with_points(change) -> dict[str, np.ndarray]:
    arrays = good()
    arrays["points_px"] = change(arrays["points_px"])
    return arrays


def half_missing(points):
    points[1, 5, 0] = np.nan
    return points


def infinite(points):
    points[1, 5] = np.inf
    return points


def nothing(points):
    points[1] = np.nan
    return points


BAD = {
    "20 joints": (with_points(lambda p: p[:, :20]), r"shape \(2, 21, 2\) in points_px, but got .* \(2, 20, 2\)"),
    "one hand without its axis": (with_points(lambda p: p[0]), r"but got float32 of shape \(21, 2\)"),
    "whole numbers": (with_points(lambda p: np.nan_to_num(p).astype(int)), "but got int64"),
    "a score too many": ({**good(), "score": np.ones(3)}, r"shape \(3, 21, 2\) in points_px"),
    "no label": ({**good(), "right": np.ones(1)}, r"shape \(2,\) in right"),
    "a score of 12": ({**good(), "score": np.array([0.5, 12])}, "score between 0 and 1, but got 12"),
    "a score of NaN": ({**good(), "score": np.array([0.5, np.nan])}, "score between 0 and 1, but got nan"),
    "a negative label": ({**good(), "right": np.array([-1.0, 1])}, "right between 0 and 1, but got -1"),
    "an uncertainty of 0": ({**good(), "sigma_px": np.zeros((2, 21))}, "sigma_px above 0 and finite, but got 0"),
    "an uncertainty for each hand": ({**good(), "sigma_px": np.ones(2)}, r"shape \(2, 21\) in sigma_px"),
    "x without y": (with_points(half_missing), "other NaN"),
    "infinity": (with_points(infinite), "other NaN"),
    "a hand without joints": (with_points(nothing), "other NaN"),
    "normalised": (with_points(lambda p: p / 320), r"as if normalised to 0\.\.1"),
    "of a larger image": (with_points(lambda p: 20 * p), r"a hand about \(2195, 1098\), far outside"),
}


@pytest.mark.parametrize(("arrays", "complaint"), BAD.values(), ids=BAD)
def test_wrong_results_are_one_sentence_that_names_the_detector(arrays, complaint):
    detector = CheckedDetector("detector 'spot' (spot 1.2)", Always(Candidates(**arrays)))
    sentence = rf"^detector 'spot' \(spot 1\.2\): expected .*{complaint}.* in an image of 320x240\. Fix or replace"
    with pytest.raises(ModelError, match=sentence) as caught:
        detector.detect(np.zeros((240, 320, 3), np.uint8))
    assert str(caught.value).count("\n") == 0


def test_what_is_no_candidates_at_all():
    assert "but got tuple" in str(complaint_about((good()["points_px"],), np.array([320, 240])))


@pytest.mark.parametrize("hands", [0, 1, 2])
def test_good_results_pass_as_they_are(hands):
    candidates = Candidates(**good(hands))
    detector = CheckedDetector("spot", Always(candidates))
    assert detector.detect(np.zeros((240, 320, 3), np.uint8)) is candidates


def test_wrong_results_end_a_run_with_a_sentence(session, site, capsys):
    (site / "spot_detector.py").write_text(SPOT.replace("np.ones(1, np.float32))", "np.ones(2, np.float32))"))
    status, _, err = detect(capsys, session, "--detection.detector", "spot", "--workers", "0")
    assert status == 2
    assert "handpipe: detector 'spot' (spot 1.2): expected floats of shape (1,) in right, but got float32" in err


@pytest.mark.parametrize(("returned", "got"), [([], "those of 0"), (Candidates(**good()), "Candidates")])
def test_a_detector_that_is_told_where_hands_are_answers_for_each(returned, got):
    class Near(Always):
        def detect_near(self, image_bgr, hands_px, right):
            return returned

    detector = CheckedNearDetector("spot", Near(Candidates(**good())))
    with pytest.raises(ModelError, match=f"each of 2 expected hands, but got {got}"):
        detector.detect_near(np.zeros((240, 320, 3), np.uint8), np.zeros((2, 21, 2)), np.array([False, True]))
