"""The official hand models: pickles of the same structure in, npz out, and nothing of a pickle ever run."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import struct
import sys
import types
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import scipy.sparse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handpipe.cli import main
from handpipe.core.errors import ModelError
from handpipe.exchange.motion.mano.models import mend_left, read_mano_hands
from handpipe.exchange.motion.mano.pickle import KEEP, read_mano_pickle
from handpipe.hand.loading import load_hand
from handpipe.hand.model import HandModel
from handpipe.hand.procedural import procedural_hand


class Ch:
    """chumpy's array: what its `__getstate__` leaves."""

    def __init__(self, x):
        self.x = x
        self._dirty_vars = {"x"}
        self._itr = None
        self._depends_on_deps = {"x": {0}}


class Select:
    """chumpy's slice of an array: the first ten of twenty shapes are one."""

    def __init__(self, a, idxs, preferred_shape):
        self.a, self.idxs, self.preferred_shape = a, idxs, preferred_shape


PythonPickler: Any = pickle._Pickler  # type: ignore[attr-defined]
"""The one written in Python, which can be taught."""


class Python2(PythonPickler):
    """Writes text and bytes as Python 2's `str`, and scipy's and numpy's modules by their names of that time."""

    dispatch: ClassVar[dict[type, Any]] = dict(PythonPickler.dispatch)

    def save_text(self, text):
        data = text.encode("latin1") if isinstance(text, str) else text
        self.write(b"T" + struct.pack("<i", len(data)) + data)
        self.memoize(text)

    dispatch[str] = dispatch[bytes] = save_text


def dumps(value: object, path: Path, protocol: int = 2) -> Path:
    """The value as Python 2 with chumpy would have pickled it."""
    modules = {"chumpy": [], "chumpy.ch": [Ch], "chumpy.reordering": [Select]}
    with path.open("wb") as file, pytest.MonkeyPatch.context() as patch:
        for name, classes in modules.items():
            module = types.ModuleType(name)
            patch.setitem(sys.modules, name, module)
            for cls in classes:
                setattr(module, cls.__name__, cls)
                patch.setattr(cls, "__module__", name)
        Python2(file, protocol).dump(value)
    data = path.read_bytes().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    path.write_bytes(data.replace(b"cscipy.sparse._csc\n", b"cscipy.sparse.csc\n"))
    return path


def official(side: Literal["left", "right"], *, wrong_shapedirs: bool = True) -> dict[str, Any]:
    """A hand in the official files' structure; the left one with the right one's x in its shape directions."""
    arrays = procedural_hand(side)
    shapedirs = arrays["shapedirs"].copy()
    if side == "left" and wrong_shapedirs:
        shapedirs[:, 0] *= -1
    twenty = np.concatenate([shapedirs, np.full((778, 3, 10), 7.0)], axis=2)
    chosen = np.arange(twenty.size).reshape(twenty.shape)[:, :, :10].ravel()
    tree = arrays["kintree_table"].astype(np.int64)
    return {
        **{"bs_style": "lbs", "bs_type": "lrotmin", "hands_coeffs": np.zeros((5, 45))},
        "J": arrays["J_regressor"] @ arrays["v_template"],
        "f": arrays["f"].astype(np.uint32),
        "kintree_table": np.where(tree < 0, 2**32 - 1, tree).astype(np.uint32),
        "J_regressor": scipy.sparse.csc_matrix(arrays["J_regressor"]),
        "posedirs": np.asfortranarray(arrays["posedirs"]),
        "weights": Ch(arrays["weights"]),
        "v_template": arrays["v_template"].astype(">f8"),
        "shapedirs": Select(Ch(twenty), chosen, (778, 3, 10)),
        "hands_components": arrays["hands_components"],
        "hands_mean": arrays["hands_mean"],
    }


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """MANO_LEFT.pkl and MANO_RIGHT.pkl."""
    folder = tmp_path_factory.mktemp("mano")
    return {
        "left": dumps(official("left"), folder / "MANO_LEFT.pkl"),
        "right": dumps(official("right"), folder / "MANO_RIGHT.pkl"),
    }


@pytest.mark.parametrize("protocol", [1, 2])
def test_every_array_comes_back(tmp_path, protocol):
    found = read_mano_pickle(dumps(official("right"), tmp_path / "hand.pkl", protocol))
    expected = procedural_hand("right")
    assert set(found) == set(KEEP)
    for name in set(KEEP) - {"kintree_table"}:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def test_a_csr_matrix_and_empty_rows_come_back(tmp_path):
    content = official("right")
    content["J_regressor"] = scipy.sparse.csr_matrix(procedural_hand("right")["J_regressor"])
    found = read_mano_pickle(dumps(content, tmp_path / "hand.pkl"))
    np.testing.assert_array_equal(found["J_regressor"], procedural_hand("right")["J_regressor"])


def test_the_command_makes_hands_that_load(files, tmp_path, capsys):
    assert main(["import", "mano", str(files["right"]), str(files["left"]), "--out", str(tmp_path), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["hand_model"] == str(tmp_path)
    assert "left hand: x of its shape directions mirrored (compared with the right hand)" in err
    assert "--hand-model" in err
    for side in ("left", "right"):
        model = load_hand(tmp_path / f"MANO_{side.upper()}.npz", side)
        truth = HandModel.from_arrays(side, procedural_hand(side))
        assert model.model_id == truth.model_id
        assert model.model_id.startswith("mano-")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["MANO_LEFT.npz", "MANO_RIGHT.npz"]


def test_a_session_is_fitted_with_them_and_says_so(files, tmp_path, capsys):
    models = tmp_path / "models"
    assert main(["import", "mano", str(files["right"]), str(files["left"]), "--out", str(models)]) == 0
    hand = load_hand(models / "MANO_RIGHT.npz", "right")
    joints = hand.joints(np.zeros(10), np.zeros(3), np.full(45, 0.1), np.zeros(3))
    np.savez(tmp_path / "still.npz", right=np.stack([joints] * 4), fps=30)
    assert main(["import", "keypoints", str(tmp_path / "still.npz"), str(tmp_path / "session")]) == 0
    capsys.readouterr()
    fit = ["fit", str(tmp_path / "session"), "--workers", "0", "--json", "--hand-model", str(models)]
    assert main(fit) == 0
    assert hand.model_id in json.loads(capsys.readouterr().out)["hand_model"]


def test_by_default_they_go_where_users_keep_data(files, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert main(["import", "mano", str(files["right"])]) == 0
    assert [path.name for path in (tmp_path / "handpipe" / "mano").iterdir()] == ["MANO_RIGHT.npz"]
    assert "has no left hand yet" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [True, False])
@pytest.mark.parametrize("alone", [True, False])
def test_a_left_hand_that_shrinks_where_it_should_grow_is_mended_and_a_right_one_left_alone(wrong, alone, tmp_path):
    left = read_mano_pickle(dumps(official("left", wrong_shapedirs=wrong), tmp_path / "left.pkl"))
    mended, note = mend_left(left, None if alone else procedural_hand("right"))
    np.testing.assert_array_equal(mended["shapedirs"], procedural_hand("left")["shapedirs"])
    assert ("mirrored" in note) == wrong
    assert ("left hand alone" in note) == alone


# ---- hostile -----------------------------------------------------------------------------------------------------


class Touch:
    """Unpickled by Python, it makes a file."""

    def __init__(self, function, *args):
        self.reduced = function, args

    def __reduce__(self):
        return self.reduced


def hostile(marker: Path) -> dict[str, object]:
    command = f"touch {marker}"
    code = f"open({str(marker)!r}, 'w').close()"
    return {
        "os.system": Touch(os.system, command),
        "eval": Touch(eval, f"open({str(marker)!r}, 'w')"),
        "exec": Touch(exec, code),
        "beside the arrays": {**official("right"), "comment": Touch(os.system, command)},
        "inside chumpy": {**official("right"), "weights": Ch(Touch(os.system, command))},
        "by import": Touch(__import__, "subprocess"),
    }


@pytest.mark.parametrize("kind", sorted(hostile(Path("marker"))))
def test_a_hostile_pickle_runs_nothing(kind, tmp_path, capfd):
    marker = tmp_path / "it ran".replace(" ", "_")
    path = dumps(hostile(marker)[kind], tmp_path / "MANO_RIGHT.pkl")
    with pytest.raises(ModelError, match=r"MANO_RIGHT\.pkl: expected only arrays, but the pickle asks for `"):
        read_mano_pickle(path)
    assert not marker.exists()
    assert main(["import", "mano", str(path), "--out", str(tmp_path / "out")]) == 2
    assert not marker.exists()
    assert not (tmp_path / "out").exists()


def test_the_same_pickle_would_run_if_it_were_opened_the_usual_way(tmp_path):
    """Otherwise the test above would prove nothing."""
    marker = tmp_path / "it_ran"
    path = dumps(hostile(marker)["os.system"], tmp_path / "bad.pkl")
    pickle.loads(path.read_bytes())
    assert marker.exists()


LIES = {
    "memo index": b"\x80\x02}r\xff\xff\xff\x7f.",
    "bytes longer than the file": b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
    "an extension code": b"\x80\x02\x82\x01.",
    "a persistent id": b"\x80\x02Pos.system\n.",
    "an old instance": b"(ios\nsystem\n.",
    "a bytearray of 2^60": b"\x80\x05\x96" + struct.pack("<Q", 2**60) + b".",
    "objects without end": b"\x80\x02" + b"]" * 2_000_000 + b".",
    "nothing": b"",
    "text": b"v_template: none",
    "a list": pickle.dumps([1, 2, 3], 2),
    "a state for a class": b"\x80\x02cnumpy\nndarray\n}b.",
}


@pytest.mark.parametrize("kind", sorted(LIES))
def test_a_pickle_that_lies_is_refused(kind, tmp_path):
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(LIES[kind])
    with pytest.raises(ModelError, match=r"MANO_RIGHT\.pkl: expected"):
        read_mano_pickle(path)


@pytest.mark.parametrize("shape", [(10**6, 10**6), (2**40,), (778, 3, -1), (778, 4)])
def test_an_array_larger_than_its_bytes_is_refused(shape, tmp_path):
    data = dumps({"v_template": np.zeros((778, 3))}, tmp_path / "hand.pkl").read_bytes()
    old, new = (pickle.dumps(value, 2)[2:-1] for value in ((778, 3), shape))
    at = data.index(old[:6])  # the two numbers and TUPLE2
    end = data.index(b"\x86", at) + 1
    (tmp_path / "hand.pkl").write_bytes(data[:at] + new.split(b"q\x00")[0] + data[end:])
    with pytest.raises(ModelError, match="cannot be read"):
        read_mano_pickle(tmp_path / "hand.pkl")


def test_objects_in_an_array_are_refused(tmp_path):
    path = dumps({**official("right"), "hands_mean": np.array([None] * 45, object)}, tmp_path / "hand.pkl")
    with pytest.raises(ModelError, match="array of"):
        read_mano_pickle(path)


def test_a_huge_file_is_not_even_read(tmp_path):
    path = tmp_path / "MANO_RIGHT.pkl"
    with path.open("wb") as file:
        file.truncate(10 * 2**30)
    with pytest.raises(ModelError, match="about 4 MB, but the file has 10240 MB"):
        read_mano_pickle(path)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 0.9999))
def test_a_truncated_file_is_an_error_wherever_it_ends(files, tmp_path, share):
    whole = files["right"].read_bytes()
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ModelError, match="download it again"):
        read_mano_pickle(path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1))
def test_a_damaged_file_is_an_error_or_a_hand_and_nothing_else(files, tmp_path, seed):
    rng = np.random.default_rng(seed)
    data = np.frombuffer(files["left"].read_bytes(), np.uint8).copy()
    # Half of the damage where the structure is, the opcodes at the two ends; the arrays in between are just numbers.
    size = len(data)
    place = rng.choice([rng.integers(0, 2000), size - 1 - rng.integers(0, 2000), rng.integers(0, size)], 3)
    data[place] = rng.integers(0, 256, 3)
    path = tmp_path / "hand.pkl"
    path.write_bytes(data.tobytes())
    with contextlib.suppress(ModelError):
        hands, _ = read_mano_hands([path])
        assert set(next(iter(hands.values()))) == set(KEEP)


# ---- the wrong file ----------------------------------------------------------------------------------------------


def test_a_right_hand_named_left(tmp_path):
    path = dumps(official("right"), tmp_path / "MANO_LEFT.pkl")
    with pytest.raises(ModelError, match=r"MANO_LEFT\.pkl: expected a left hand, as the name says, but its thumb"):
        read_mano_hands([path])


def test_the_same_hand_twice(files, tmp_path):
    copy = tmp_path / "other.pkl"
    copy.write_bytes(files["right"].read_bytes())
    with pytest.raises(ModelError, match="are both right hands"):
        read_mano_hands([files["right"], copy])


def test_a_body_model(tmp_path):
    path = dumps({**official("right"), "v_template": np.zeros((6890, 3))}, tmp_path / "SMPL_NEUTRAL.pkl")
    with pytest.raises(ModelError, match="expected a hand of 778 vertices, but found a SMPL body of 6890"):
        read_mano_pickle(path)


def test_a_part_of_a_model(tmp_path):
    content = official("right")
    del content["hands_mean"], content["posedirs"]
    with pytest.raises(ModelError, match="posedirs, hands_mean is missing"):
        read_mano_pickle(dumps(content, tmp_path / "hand.pkl"))


def test_no_file(tmp_path):
    with pytest.raises(ModelError, match="cannot be read"):
        read_mano_pickle(tmp_path / "MANO_RIGHT.pkl")


def test_one_bad_file_leaves_the_models_that_are_there(files, tmp_path, capsys):
    arguments = ["--out", str(tmp_path / "out")]
    assert main(["import", "mano", str(files["right"]), str(files["left"]), *arguments]) == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    bad = tmp_path / "MANO_LEFT.pkl"
    bad.write_bytes(files["left"].read_bytes()[:-1000])
    assert main(["import", "mano", str(files["right"]), str(bad), *arguments]) == 2
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert "Traceback" not in capsys.readouterr().err
