"""Files that a stranger may have made: bounds, and errors of the class that the caller asks for."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest

from handpipe.core import files
from handpipe.core.errors import GenerationError, ModelError, SessionError
from handpipe.core.files import check_letters, read_bytes, read_npz
from handpipe.hand import loading
from handpipe.hand.loading import load_hand
from handpipe.hand.procedural import procedural_hand


def test_arrays_come_back(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", x=np.arange(3), y=np.array(["left"]))
    arrays = read_npz(tmp_path / "a.npz", "numbers")
    assert arrays["x"].tolist() == [0, 1, 2]
    assert arrays["y"].tolist() == ["left"]


@pytest.mark.parametrize("error", [SessionError, ModelError, GenerationError])
def test_errors_are_of_the_class_asked_for(tmp_path, error):
    path = tmp_path / "a.npz"
    with pytest.raises(error, match=r"expected an \.npz with numbers, but there is no such file"):
        read_npz(path, "numbers", error=error)
    with pytest.raises(error, match="expected numbers, but found a folder"):
        read_bytes(tmp_path, "numbers", 10, error)
    path.write_bytes(b"PK")
    with pytest.raises(error, match=r"with plain arrays, but it cannot be read \(.*\)\. Do this\.$"):
        read_npz(path, "numbers", error=error, advice="Do this.")
    np.savez_compressed(path, x=np.zeros(10_000_000))
    with pytest.raises(error, match=r"an .npz with numbers of at most 1 MiB, but it unpacks to 76\.3 MiB"):
        read_npz(path, "numbers", 1 << 20, error)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"text")
    with pytest.raises(error, match="x is not an array"):
        read_npz(path, "numbers", error=error)


HEADERS = {
    "a bracket is open": "{'descr': '<f8', 'fortran_order': False, 'shape': (3,",
    "more numbers than there are": "{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999999999999,)}",
    "no type": "{'descr': '<q9', 'fortran_order': False, 'shape': (3,)}",
}
"""Of an array in an npz, as nobody writes them."""


@pytest.mark.parametrize("name", HEADERS)
def test_headers_that_say_nonsense(tmp_path, name):
    text = HEADERS[name].encode() + b"\n"
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(24))
    with pytest.raises(SessionError, match="with plain arrays, but it cannot be read"):
        read_npz(tmp_path / "a.npz", "numbers")


@pytest.mark.parametrize("code", [0x110000, 0xFFFFFFFF, 0xD800])
@pytest.mark.parametrize("order", "<>")
def test_characters_that_do_not_exist(tmp_path, code, order):
    names = np.array(["left", "right"], f"{order}U5")
    np.savez(tmp_path / "good.npz", names=names, none=np.array([], str), empty=np.array([""], str))
    assert read_npz(tmp_path / "good.npz", "names")["names"].tolist() == ["left", "right"]
    names.view(f"{order}u4")[1] = code
    np.savez(tmp_path / "a.npz", names=names)
    with pytest.raises(SessionError, match=r"cannot be read \(names is no text in Unicode\)"):
        read_npz(tmp_path / "a.npz", "names")


@pytest.mark.parametrize(("letter", "most"), [("a", 1000), ("\u00e9", 1000), ("\u0142", 100), ("\U0001f44b", 50)])
def test_one_wide_letter_counts_for_all(monkeypatch, letter, most):
    monkeypatch.setattr(files, "MAX_TEXT_BYTES", 100)

    def text(size: int) -> str:
        return "a" * (size - len(letter.encode())) + letter

    check_letters(text(most).encode())
    if most < 1000:
        with pytest.raises(ValueError, match="as text"):
            check_letters(text(most + 1).encode())


def test_numbers_of_which_arithmetic_would_warn(tmp_path, recwarn):
    signalling = np.array([0x7FA00000, 0x3F800000], np.uint32).view(np.float32)
    old = np.array([-0.0, np.nan, 1.0])
    np.savez(tmp_path / "a.npz", signalling=signalling, long=np.array([np.longdouble("1e400"), 2]), old=old)
    arrays = read_npz(tmp_path / "a.npz", "numbers")
    assert np.isnan(arrays["signalling"].astype(np.float64)).tolist() == [True, False]
    assert arrays["signalling"].dtype == np.float32
    if np.finfo(np.longdouble).max > np.finfo(float).max:
        assert (arrays["long"].dtype, arrays["long"].tolist()) == (np.float64, [np.inf, 2.0])
    assert arrays["old"].tobytes() == old.tobytes()
    assert not recwarn.list


def test_a_hand_model_unpacks_to_a_bounded_size(tmp_path):
    arrays = {**procedural_hand("right"), "more": np.zeros(loading.MAX_BYTES, np.uint8)}
    np.savez_compressed(tmp_path / "MANO_RIGHT.npz", **arrays)  # pyright: ignore[reportArgumentType]
    assert (tmp_path / "MANO_RIGHT.npz").stat().st_size < loading.MAX_BYTES / 4
    with pytest.raises(ModelError, match="MANO's arrays of at most 64 MiB, but it unpacks to"):
        load_hand(tmp_path / "MANO_RIGHT.npz", "right")
