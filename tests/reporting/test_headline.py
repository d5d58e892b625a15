"""The first screen: what is good, what is not, and what to do."""

from __future__ import annotations

import numpy as np

from handpipe.core.quality import Check
from handpipe.reporting.headline import by_check, calibration_figures, fit_figures, keypoint_figures, truth_figures

LIMITS = {"settings": {"max_reprojection_px": 3.0, "max_distance_mm": 2.0}}


def test_the_worst_check_speaks():
    checks = [Check("a", "ok"), Check("a", "error", reason="It is broken.", remedy="Mend it."), Check("b", "warning")]
    assert by_check("x", "1", checks, ["a"], "note").mark == "bad"
    assert by_check("x", "1", checks, ["a"], "note").note == "Mend it."
    assert by_check("x", "1", checks, ["b"], "note").mark == "warning"
    assert by_check("x", "1", checks, ["c"], "note").mark == "plain"
    assert by_check("x", "1", checks[:1], ["a"], "note").note == "note"


def test_views_that_do_not_agree_are_counted():
    views = [Check("view agrees", "ok", view="c0"), Check("view agrees", "error", view="c1", remedy="Exchange them.")]
    _, agree, error = keypoint_figures(np.zeros((5, 2, 21, 3)), {"reprojection_px": 4.0}, views)
    assert (agree.value, agree.mark, agree.note) == ("1 of 2", "bad", "c1: Exchange them.")
    assert (error.value, error.mark) == ("4.0 px", "plain")


def test_calibration_is_judged_by_the_limits_that_it_was_made_with():
    board = {"board_px": 0.3, "board_mm": 0.1, "held_out_px": 0.5, "held_out_mm": 2.5, "fingerprint": LIMITS}
    views, error = calibration_figures(board, np.array([True, False]), ["c0", "c1"])
    assert (views.value, views.mark) == ("1 of 2", "warning")
    assert "c1" in views.note
    assert (error.value, error.mark) == ("2.50 mm", "bad")
    assert "calibrate again" in error.note
    good = calibration_figures({**board, "held_out_mm": 0.1}, np.array([True]), ["c0"])
    assert [figure.mark for figure in good] == ["good", "good"]
    read = calibration_figures({"source": "cameras.toml", "board_px": None}, np.array([True]), ["c0"])[1]
    assert (read.value, read.mark) == ("from cameras.toml", "plain")


def test_no_hands_are_nought_percent():
    points = np.full((5, 2, 21, 3), np.nan)
    error = Check("hands in the images", "error", 0.0, 0.02, reason="expected hands.", remedy="Check focus.")
    (figure,) = keypoint_figures(points, {"reprojection_px": None}, [error])
    assert (figure.value, figure.mark, figure.note) == ("0 / 0 %", "bad", "Check focus.")
    mano = {"valid": np.zeros((5, 2), bool), "residual": np.full((5, 2), np.nan)}
    (fitted,) = fit_figures(mano, [Check("fitted hands", "error")])
    assert (fitted.value, fitted.mark) == ("0 / 0 %", "bad")
    assert truth_figures({"fitted_joint_mm": {"mean": None, "p95": None}}) == []
    assert truth_figures({}) == []
