"""The printed board: found by the detector on the page, and as large as it says."""

from __future__ import annotations

import json

import numpy as np
import pypdfium2
import pytest
from april_boards import april_picture

from handpipe.calibration.board import corner_positions, detect_board
from handpipe.calibration.boards.drawing import RULER_MM, RULER_ROOM_MM, draw, sheet_for, write_pdf
from handpipe.cli import main
from handpipe.core.settings import Board

DPI = 144
MM = 25.4 / DPI

BOARDS = [
    Board(),
    Board(columns=5, rows=4, square_m=0.03, marker_m=0.022, dictionary="DICT_6X6_250", first_marker=12),
    Board(columns=4, rows=6, square_m=0.03, marker_m=0.021, legacy=True),
    Board(columns=4, rows=5, square_m=0.05, marker_m=0.0375, dictionary="DICT_4X4_1000", inverted=True),
    Board(type="chessboard", columns=6, rows=5, square_m=0.03),
    Board(type="grid", columns=4, rows=3, square_m=0.05, marker_m=0.04, dictionary="DICT_5X5_100"),
    Board(type="aprilgrid", columns=4, rows=3, square_m=0.052, marker_m=0.04, first_marker=3),
]


def printed(path):
    """The page as a gray picture, and its size in millimetres."""
    page = pypdfium2.PdfDocument(path)[0]
    picture = page.render(scale=DPI // 72, grayscale=True).to_numpy()
    return np.ascontiguousarray(picture.reshape(*picture.shape[:2], -1)[..., 0]), np.array(page.get_size()) / 72 * 25.4


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: f"{board.type}-{board.dictionary}-{board.inverted}")
def test_the_detector_finds_every_corner_of_the_print_where_it_should_be(board, tmp_path):
    sheet = write_pdf(board, tmp_path / "board.pdf")
    picture, size_mm = printed(tmp_path / "board.pdf")
    assert size_mm == pytest.approx([sheet.width_mm, sheet.height_mm], abs=0.2)
    found = detect_board(board, picture)
    assert np.isfinite(found).all()
    expected_mm = 1e3 * corner_positions(board)[:, :2]
    off_mm = found * MM - expected_mm
    assert np.ptp(off_mm, axis=0).max() < 0.25, "to scale, and turned by nothing"


@pytest.mark.parametrize("page", ["auto", "fit"])
@pytest.mark.parametrize("square_m", [0.03, 0.015])
def test_the_rulers_are_as_long_as_they_say(tmp_path, square_m, page):
    board = Board(columns=5, rows=4, square_m=square_m, marker_m=0.75 * square_m)
    sheet = write_pdf(board, tmp_path / "board.pdf", page)
    picture, _ = printed(tmp_path / "board.pdf")
    dark, board_mm = picture < 128, draw(board)
    left = int(((sheet.width_mm + RULER_ROOM_MM - board_mm.width_mm) / 2 - 1) / MM)
    below, above = (int((sheet.height_mm - RULER_ROOM_MM + mm) / MM) for mm in (-1, 1))
    # Left of the board, and along the lower edge above the words, there is nothing but the rulers.
    assert dark[:below, :left].sum(0).max() * MM == pytest.approx(RULER_MM, abs=0.5)
    assert dark[below:above].sum(1).max() * MM == pytest.approx(RULER_MM, abs=0.5)


def test_an_aprilgrid_is_drawn_as_kalibr_draws_it():
    """Against the picture that the tests of the detector use: 10 pixels for a bit."""
    board = Board(type="aprilgrid", columns=3, rows=2, square_m=0.052, marker_m=0.04)
    drawing, expected = draw(board), april_picture(board)
    picture = np.full_like(expected, 255)
    for x, y, w, h in np.rint((drawing.boxes_mm * 100 / 40) + [60, 60, 0, 0]).astype(int):
        picture[y : y + h, x : x + w] = 0
    assert np.array_equal(picture, expected)


@pytest.mark.parametrize(
    ("columns", "square_m", "page", "name", "size"),
    [(5, 0.03, "auto", "a4", (297, 210)), (7, 0.04, "auto", "a3", (420, 297)), (5, 0.03, "fit", "fit", (192, 162))],
)
def test_the_page_fits_the_board(columns, square_m, page, name, size):
    rows = 4 if columns == 5 else 5
    sheet = sheet_for(Board(columns=columns, rows=rows, square_m=square_m, marker_m=0.75 * square_m), page)
    assert (sheet.name, round(sheet.width_mm), round(sheet.height_mm)) == (name, *size)


def test_the_command_writes_the_board_of_a_session(tmp_path, capsys):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "session.yaml").write_text("board: {columns: 4, rows: 3, square_m: 0.02, marker_m: 0.015}\n")
    assert main(["board", str(tmp_path / "b.pdf"), "--session", str(tmp_path / "s"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["board"]["columns"] == 4
    assert np.isfinite(
        detect_board(Board(columns=4, rows=3, square_m=0.02, marker_m=0.015), printed(tmp_path / "b.pdf")[0])
    ).all()


@pytest.mark.parametrize(
    ("name", "flags", "said"),
    [("b.png", [], "End it in .pdf"), ("b.pdf", ["--page", "a4"], "Use --page a3"), (".", [], "End it in .pdf")],
)
def test_what_cannot_be_drawn_is_one_message(tmp_path, capsys, name, flags, said):
    assert main(["board", str(tmp_path / name), *flags]) == 2
    assert said in capsys.readouterr().err
