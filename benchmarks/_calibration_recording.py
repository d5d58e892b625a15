"""The real recording of `calibration.py`: held-out corners, delays by the board and by the hands."""

from __future__ import annotations

import argparse
import csv
import tomllib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from _report import Figure
from numpy import ndarray
from rich.console import Console
from rich.table import Table

from handpipe.calibration.aniposelib_solver import AniposelibSolver
from handpipe.calibration.board import corner_positions, detect_board
from handpipe.calibration.calibrate import Calibration, calibrate
from handpipe.calibration.quality import BoardDistances, board_distance_errors, triangulate_corners
from handpipe.calibration.timing.alignment import at_common_instants, at_instants
from handpipe.calibration.timing.late_views import InTime, calibrate_in_time, instants
from handpipe.core.cameras import Cameras
from handpipe.core.settings import Board
from handpipe.exchange.cameras.caliscope import read_caliscope_cameras

RECORDING = Path(__file__).resolve().parents[2] / "shared" / "data" / "caliscope_charuco_4cam_hands"
BLOCK_FRAMES = 4
UNCORRECTED, CORRECTED = "handpipe, times as they are", "handpipe"
UNCORRECTED_RIG, HANDS = "uncorrected rig, corrected times", "delays of the hands"
COMPARED = (UNCORRECTED, UNCORRECTED_RIG, HANDS)
UNCORRECTED_MM = 0.847
"""What the recording gave before delays were corrected."""
HANDS_DELAY_S = np.array([-0.0082, -0.1134, 0.0082, 0.0239])
HANDS_SIGMA_S = np.array([0.0028, 0.0059, 0.0040, 0.0049])
"""From the hands of the recording, by the uncorrected rig: `handpipe run` with `--no-calibration.correct-delays`."""
BOOTSTRAPS = 10000
ANIPOSELIB = AniposelibSolver("benchmark")


def recording(options: argparse.Namespace) -> list[Figure]:
    """Four webcams: distances of the print from corners that no calibration but the shipped one has seen."""
    if not RECORDING.exists():
        print(f"recording: not measured, because {RECORDING} does not exist.")
        return []
    shipped = read_caliscope_cameras(RECORDING / "camera_array.toml")
    info = tomllib.loads((RECORDING / "charuco.toml").read_text())
    square_m = info["square_size_override_cm"] / 100
    board = Board(
        columns=info["columns"],
        rows=info["rows"],
        square_m=square_m,
        marker_m=info["aruco_scale"] * square_m,
        dictionary=info["dictionary"],
        inverted=info["inverted"],
    )
    corners_px, time_s = _recorded(board, shipped)
    measured: dict[str, list[BoardDistances]] = {}
    parts: dict[str, list[tuple[ndarray, ndarray]]] = {}
    for half in (0, 1):
        shown, judged = corners_px.copy(), corners_px.copy()
        # Blocks, not every other frame: neighbours are nearly the same picture.
        held_out = (np.arange(corners_px.shape[1]) // BLOCK_FRAMES) % 2 == half
        shown[:, held_out], judged[:, ~held_out] = np.nan, np.nan
        instant_s = instants(time_s)
        own_times = at_common_instants(judged, time_s)
        found = _in_time(board, shown, time_s, shipped)
        assert found.before is not None
        # The delays are those of the half that calibrates.
        corrected = at_instants(judged, time_s + found.delays.delay_s[:, None], instant_s)
        by_hands = at_instants(judged, time_s + HANDS_DELAY_S[:, None], instant_s)
        at_hands = at_instants(shown, time_s + HANDS_DELAY_S[:, None], instant_s)
        anipose = calibrate(board, shown, shipped.names, shipped.size_px, time_s=time_s, solver=ANIPOSELIB).cameras
        hands = calibrate(board, at_hands, shipped.names, shipped.size_px).cameras
        rigs = {
            "aniposelib": (anipose, own_times),
            "supplied with the recording": (shipped, own_times),
            UNCORRECTED: (found.before.cameras, own_times),
            CORRECTED: (found.calibration.cameras, corrected),
            UNCORRECTED_RIG: (found.before.cameras, corrected),
            HANDS: (hands, by_hands),
        }
        for name, (cameras, judge_px) in rigs.items():
            measured.setdefault(name, []).append(board_distance_errors(cameras, judge_px, board))
        for name in COMPARED:
            pair = _same_sightings(rigs[CORRECTED], rigs[name])
            ours, theirs = (_squared_errors(cameras, px, board)[held_out] for cameras, px in pair)
            parts.setdefault(name, []).append((ours, theirs))
    table = Table(title="the real recording: held-out corners", title_justify="left")
    for column in ("", "all distances mm", "neighbours mm", "reprojection px", "scale", "corners"):
        table.add_column(column, justify="left" if column == "" else "right")
    rmse = {}
    for name, (a, b) in measured.items():
        rmse[name] = _pooled(a.all_rmse_mm, b.all_rmse_mm)
        cells = [rmse[name], _pooled(a.adjacent_rmse_mm, b.adjacent_rmse_mm)]
        cells += [_pooled(a.reprojection_rms_px, b.reprojection_rms_px), (a.scale + b.scale) / 2]
        table.add_row(name, *[f"{cell:.3f}" for cell in cells], str(a.num_corners + b.num_corners))
    Console(width=130).print(table)
    whole = _in_time(board, corners_px, time_s, shipped)
    assert whole.before is not None
    _print_delays(whole, shipped.names)
    weak = int(np.nanargmax(whole.before.by_others.px))
    gain = whole.calibration.by_others.px[weak] / whole.before.by_others.px[weak]
    figures = [Figure("recording: held-out distances", rmse[CORRECTED], "mm", UNCORRECTED_MM)]
    for other in COMPARED:
        mm, low, high = _paired(*(np.concatenate(sides) for sides in zip(*parts[other], strict=True)))
        title = f"recording: minus {other}, same sightings ({low:+.3f} to {high:+.3f} in 95 %)"
        figures.append(Figure(title, mm, "mm", None if other == HANDS else 0.0))
    peers = ("aniposelib", "supplied with the recording")
    figures += [Figure(f"recording: relative to {name}", rmse[CORRECTED] / rmse[name], "times", 1.0) for name in peers]
    return [*figures, Figure("recording: weak camera by the others, relative to uncorrected", gain, "times", 0.5)]


def _in_time(board: Board, corners_px: ndarray, time_s: ndarray, shipped: Cameras) -> InTime:
    def solve(corners: ndarray, times: ndarray | None, instant_s: ndarray) -> Calibration:
        return calibrate(board, corners, shipped.names, shipped.size_px, time_s=times, instant_s=instant_s)

    return calibrate_in_time(solve, corners_px, time_s)


def _print_delays(found: InTime, names: Sequence[str]) -> None:
    assert found.before is not None
    table = Table(title="all frames: delays, and each view by the others", title_justify="left")
    for column in ("", "board, ms", "hands, ms", "by the others px, uncorrected", "corrected"):
        table.add_column(column, justify="left" if column == "" else "right")
    for view, name in enumerate(names):
        board_ms = f"{1e3 * found.delays.delay_s[view]:.1f} ± {1e3 * found.delays.sigma_s[view]:.1f}"
        hands_ms = f"{1e3 * HANDS_DELAY_S[view]:.1f} ± {1e3 * HANDS_SIGMA_S[view]:.1f}"
        px = [f"{each.by_others.px[view]:.2f}" for each in (found.before, found.calibration)]
        table.add_row(name, board_ms, hands_ms, *px)
    Console(width=130).print(table)


def _same_sightings(
    a: tuple[Cameras, ndarray], b: tuple[Cameras, ndarray]
) -> tuple[tuple[Cameras, ndarray], tuple[Cameras, ndarray]]:
    """Both rigs with only those corners (view, frame, corner, 2) that both have."""
    both = np.isfinite(a[1]) & np.isfinite(b[1])
    return (a[0], np.where(both, a[1], np.nan)), (b[0], np.where(both, b[1], np.nan))


def _squared_errors(cameras: Cameras, corners_px: ndarray, board: Board) -> ndarray:
    """(frame, pair of corners) squared errors of the distances, mm2; NaN where one was not triangulated."""
    points_m, corners_m = triangulate_corners(cameras, corners_px), corner_positions(board)
    first, second = np.triu_indices(len(corners_m), k=1)
    true_m = np.linalg.norm(corners_m[first] - corners_m[second], axis=-1)
    return (1e3 * (np.linalg.norm(points_m[:, first] - points_m[:, second], axis=-1) - true_m)) ** 2


def _paired(ours: ndarray, theirs: ndarray) -> tuple[float, float, float]:
    """Difference of the RMSE over distances that both measure, and its 95 % interval: bootstrap over blocks."""
    both = np.isfinite(ours) & np.isfinite(theirs)
    blocks = np.arange(len(ours)) // BLOCK_FRAMES
    sums = np.array([
        [part[blocks == b][both[blocks == b]].sum() for part in (ours, theirs)] + [both[blocks == b].sum()]
        for b in np.unique(blocks)
    ])  # fmt: skip
    drawn = np.random.default_rng(0).integers(0, len(sums), (BOOTSTRAPS, len(sums)))
    total = np.concatenate([sums.sum(0)[None], sums[drawn].sum(1)])
    difference = np.sqrt(total[:, 0] / total[:, 2]) - np.sqrt(total[:, 1] / total[:, 2])
    low, high = np.percentile(difference[1:], [2.5, 97.5])
    return float(difference[0]), float(low), float(high)


def _pooled(a: float, b: float) -> float:
    return float(np.sqrt((a * a + b * b) / 2))


def _recorded(board: Board, shipped: Cameras) -> tuple[ndarray, ndarray]:
    """Corners (view, frame, corner, 2) of the frames that show the board, and when each was taken (view, frame)."""
    clips = []
    for name in shipped.names:
        capture = cv2.VideoCapture(str(RECORDING / f"{name}.mp4"))
        clip = []
        while (image := capture.read()[1]) is not None:
            clip.append(detect_board(board, image))
        clips.append(np.stack(clip))
    corners_px = np.stack(clips).astype(float)
    time_s = np.full(corners_px.shape[:2], np.nan)
    with (RECORDING / "timestamps.csv").open() as file:
        rows = list(csv.DictReader(file))
    first = min(int(row["frame_index"]) for row in rows)
    for row in rows:
        time_s[shipped.names.index(f"cam_{row['cam_id']}"), int(row["frame_index"]) - first] = float(row["frame_time"])
    shown = np.isfinite(corners_px).any((0, 2, 3))
    return corners_px[:, shown], time_s[:, shown]
