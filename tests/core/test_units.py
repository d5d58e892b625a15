"""Which unit a length was given in: boards, distances and rigs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from calibration_scenes import arc_rig
from pydantic_core import PydanticCustomError

from handpipe.calibration.settings import CalibrationSettings
from handpipe.core.cameras import Cameras
from handpipe.core.cameras_file import check_metres
from handpipe.core.config import build
from handpipe.core.errors import CalibrationError, ConfigError
from handpipe.core.settings import Board, described
from handpipe.core.units import reach, unit_length, unit_of_ratio, widest, wrong_rig_unit


def board(**values: object) -> Board:
    return build(Board, [("session.yaml", values)])


@pytest.mark.parametrize(
    ("given", "square_m"),
    [("4 cm", 0.04), ("50 mm", 0.05), ("40mm", 0.04), ("2 in", 0.0508), ('2"', 0.0508), ("0.05 metres", 0.05)],
)
def test_a_length_with_a_unit_is_the_same_as_in_metres(given: str, square_m: float):
    assert board(square_m=given) == board(square_m=square_m)


def test_a_text_without_a_unit_is_refused():
    for text in ("5", "4 apples", "cm"):
        with pytest.raises(ConfigError, match=r"session.yaml: 'square_m': expected a number of metres, or a length"):
            board(square_m=text)


@pytest.mark.parametrize(
    ("given", "suggestion"),
    [
        ({"square_m": 50, "marker_m": 37.5}, "a square of 50 m? 50 mm is square_m: 0.05"),
        ({"square_m": 37.5}, "37.5 mm is square_m: 0.0375"),
        ({"square_m": 0.05, "marker_m": 37.5}, "a marker of 37.5 m? 37.5 mm is marker_m: 0.0375"),
        ({"square_m": 2}, "2 cm is square_m: 0.02, 2 inches is square_m: 0.0508"),
        ({"square_m": 4}, "4 cm is square_m: 0.04"),
        ({"square_m": 1.5}, "1.5 inches is square_m: 0.0381"),
        ({"square_m": 0.00005}, "a square of 0.00005 m? 50 mm is square_m: 0.05"),
        ({"square_m": 0.0004}, "4 cm is square_m: 0.04"),
        ({"square_m": "50 m"}, "50 mm is square_m: 0.05"),
        ({"square_m": 0.03, "marker_m": 0.04}, "were they exchanged? square_m: 0.04, marker_m: 0.03"),
        ({"square_m": 0.025}, "0.03 if not given) must be smaller than square_m (0.025 m)"),
        ({"square_m": 0.4}, "less than 0.2 times square_m"),
        ({"columns": 12, "rows": 10}, "markers are 0 to 59, but DICT_4X4_50 ends at 49"),
        ({"first_marker": 40}, "markers are 40 to 56, but DICT_4X4_50 ends at 49"),
    ],
)
def test_an_impossible_board_names_the_number_to_write(given: dict, suggestion: str):
    with pytest.raises(ConfigError) as error:
        board(**given)
    assert suggestion in str(error.value)


def test_a_known_distance_in_millimetres_is_told():
    known = {"known_distances": [{"first": "a", "second": "b", "distance_m": 620}]}
    with pytest.raises(ConfigError, match=r"620 mm is distance_m: 0\.62"):
        build(CalibrationSettings, [("session.yaml", known)])


def test_the_first_marker_is_in_the_description_only_where_it_is_not_zero():
    assert "first_marker" not in described(Board())
    assert described(Board(first_marker=12))["first_marker"] == 12
    assert Board(**described(Board(first_marker=12))) == Board(first_marker=12)


def scaled(rig: Cameras, factor: float) -> Cameras:
    T = rig.T_cam_world.copy()
    T[:, :3, 3] *= factor
    return replace(rig, T_cam_world=T)


@pytest.mark.parametrize("size", [0.4, 0.7, 1.0, 2.0, 4.0])
@pytest.mark.parametrize(("unit_m", "most"), [(0.001, 2), (0.01, 2), (0.0254, 2), (1e-6, 2)])
def test_the_unit_of_a_rig_is_told_and_mends_it(size: float, unit_m: float, most: int):
    """Centimetres and inches are a factor of 2.5 apart, so both are named; what is named mends the rig."""
    rig = scaled(arc_rig(4, np.random.default_rng(0)), size)
    assert wrong_rig_unit(rig) is None
    wrong = wrong_rig_unit(scaled(rig, 1 / unit_m))
    assert wrong is not None
    units = [each for _, each in wrong[1]]
    assert len(units) <= most
    assert unit_m in units
    for unit in units:
        assert wrong_rig_unit(scaled(rig, unit / unit_m), unit) is None


def test_a_rig_that_was_scaled_by_its_format_is_told_the_unit_of_the_file():
    """Metres in a format of millimetres."""
    rig = scaled(arc_rig(4, np.random.default_rng(0)), 0.001)
    with pytest.raises(CalibrationError, match=r"look like metres \(--unit-m 1\).*SESSION --from rig.json --unit-m 1`"):
        check_metres(rig, "rig.json", 0.001)


def test_the_reach_of_a_rig_is_the_distance_to_what_it_looks_at():
    rig = arc_rig(5, np.random.default_rng(0))
    away = np.linalg.norm(rig.centers_m, axis=-1)
    assert reach(rig) == pytest.approx(float(np.median(away)))
    assert widest(rig) == pytest.approx(2 * np.sin(np.pi / 3))
    assert reach(rig.subset([0])) is None
    parallel = replace(rig, T_cam_world=np.stack([np.eye(4)] * 5))
    assert reach(parallel) is None
    apart = rig.T_cam_world.copy()
    apart[:, [0, 2]] *= -1  # turned around: they look outward
    assert reach(replace(rig, T_cam_world=apart)) is None


def test_random_cameras_are_not_of_a_wrong_unit():
    rng = np.random.default_rng(1)
    rig = arc_rig(6, rng)
    for _ in range(200):
        turned = rig.T_cam_world.copy()
        turned[:, :3, :3] = np.linalg.qr(rng.normal(size=(6, 3, 3)))[0]
        turned[:, :3, 3] = rng.normal(0, 1, (6, 3))
        assert wrong_rig_unit(replace(rig, T_cam_world=turned)) is None


def test_a_ratio_is_a_unit():
    assert [unit_of_ratio(ratio) for ratio in (0.00101, 0.0251, 0.5, 1.0)] == ["mm", "inches", None, None]


@pytest.mark.parametrize(("text", "metres_each"), [("cm", 0.01), ("inches", 0.0254), ("1 cm", 0.01), ("0.01", 0.01)])
def test_a_unit_on_the_command_line(text: str, metres_each: float):
    assert unit_length(text) == metres_each


@pytest.mark.parametrize("text", ["parsec", "", "4 ft"])
def test_what_is_no_unit(text: str):
    with pytest.raises(PydanticCustomError, match="a length with a unit such as 50 mm"):
        unit_length(text)
