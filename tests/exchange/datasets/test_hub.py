"""The Hugging Face folder: `datasets` and pyarrow read it, and it comes back to the bit."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from exported import fitted_session
from stored_motions import clip, generated

from handpipe.cli import main
from handpipe.core.storage.schema import read_cameras
from handpipe.core.storage.store import Store
from handpipe.exchange.datasets.hub.card import card

MANO_ARRAYS = ("betas", "global_orient", "hand_pose", "transl", "joints", "residual", "valid")


def run(capsys, *argv) -> tuple[int, str]:
    status = main([str(arg) for arg in argv])
    return status, " ".join(capsys.readouterr().err.split())


@pytest.fixture
def exported(tmp_path, capsys):
    """Two sessions in one folder; one has keypoints."""
    sessions = [
        fitted_session(tmp_path / "touching", frames=9, keypoints=True),
        fitted_session(tmp_path / "parting", frames=6, seed=8),
    ]
    status, said = run(capsys, "export", "hub", *sessions, "--out", tmp_path / "hub")
    assert status == 0, said
    assert "not in hub: The clips" in said
    return sessions, tmp_path / "hub"


def test_it_comes_back_to_the_bit(exported, tmp_path, capsys):
    sessions, folder = exported
    status, said = run(capsys, "import", "hub", folder, tmp_path / "back")
    assert status == 0, said
    for session in sessions:
        before, after = (Store(str(root / "session.zarr")) for root in (session, tmp_path / "back" / session.name))
        groups = {"mano": MANO_ARRAYS, "cameras": ("K", "distortion", "T_cam_world", "size")}
        if before.complete("keypoints"):
            groups["keypoints"] = ("points", "sigma")
        for group, names in groups.items():
            for name in names:
                one, other = before.read(group, name), after.read(group, name)
                assert one.dtype == other.dtype
                assert one.tobytes() == other.tobytes(), name
        assert before.attrs("mano")["hand_model"] == after.attrs("mano")["hand_model"]
        assert before.attrs("mano")["fps"] == after.attrs("mano")["fps"]
        assert read_cameras(before).names == read_cameras(after).names
        assert before.complete("keypoints") == after.complete("keypoints")
    assert "2 up to date" in run(capsys, "import", "hub", folder, tmp_path / "back")[1]


def test_it_comes_back_again(exported, tmp_path, capsys):
    """What was imported can be exported, to the same files."""
    _, folder = exported
    run(capsys, "import", "hub", folder, tmp_path / "back", "--only", "touch*")
    assert not (tmp_path / "back" / "parting").exists()
    assert run(capsys, "export", "hub", tmp_path / "back" / "touching", "--out", tmp_path / "again")[0] == 0
    name = Path("data") / "touching.parquet"
    assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_generated_motion_is_a_sequence_for_each_sample(tmp_path, capsys):
    samples = [clip(frames=7, seed=seed) for seed in (1, 2)]
    generated(tmp_path / "made.zarr", samples)
    assert run(capsys, "export", "hub", tmp_path / "made.zarr", "--out", tmp_path / "hub")[0] == 0
    assert not (tmp_path / "hub" / "cameras.parquet").exists()
    status, said = run(capsys, "import", "hub", tmp_path / "hub", tmp_path / "back")
    assert status == 0, said
    for number, sample in enumerate(samples):
        store = Store(str(tmp_path / "back" / f"made-{number:04d}" / "session.zarr"))
        for name, values in sample.items():
            assert store.read("mano", name).tobytes() == values.tobytes(), name


def test_datasets_loads_the_folder(exported, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    sessions, folder = exported

    def load(*config):
        return datasets.load_dataset(str(folder), *config, split="train", cache_dir=str(tmp_path / "cache"))

    frames = load().with_format("numpy")
    assert len(frames) == 15
    store = Store(str(sessions[0] / "session.zarr"))
    rows = frames.filter(lambda row: row["sequence"] == "touching")
    for number, hand in enumerate(("left", "right")):
        found = np.stack(list(rows[f"{hand}_joints"]))
        assert found.astype(np.float32).tobytes() == store.read("mano", "joints")[:, number].tobytes()
    assert load("sequences")["frames"] == [9, 6]
    assert len(load("cameras")) == 6


def test_the_card_says_what_is_there(exported):
    _, folder = exported
    _, head, body = (folder / "README.md").read_text().split("---\n", 2)
    said = yaml.safe_load(head)
    assert said["license"] == "unknown"
    assert [each["config_name"] for each in said["configs"]] == ["frames", "sequences", "cameras"]
    assert all(list(folder.glob(each["data_files"])) for each in said["configs"])
    assert "| touching | 9 | 30 | 3 | 77.8 % | 100.0 % |" in body
    rows = [{"sequence": f"s{i}", "frames": 1000, "fps": 30.0, "views": 0} for i in range(60)]
    assert "and 10 more | 10000" in card(rows, with_cameras=False)
    assert "10K<n<100K" in card(rows, with_cameras=False)


# ---- what must not go through ------------------------------------------------------------------------------------


def rewrite(path: Path, change) -> None:
    pq.write_table(change(pq.read_table(path)), path)


def replaced(table: pa.Table, name: str, values) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, values)


def scaled(table: pa.Table, factor: float, names: tuple[str, ...]) -> pa.Table:
    for name in names:
        column = table.column(name)
        values = [None if row is None else (np.array(row) * factor).tolist() for row in column.to_pylist()]
        table = replaced(table, name, pa.array(values, column.type))
    return table


def millimetres(table):
    return scaled(table, 1000.0, ("left_joints", "right_joints", "left_keypoints", "right_keypoints"))


def degrees(table):
    return scaled(table, 57.3, ("right_hand_pose",))


def exchanged(table):
    names = [name.replace("left", "~").replace("right", "left").replace("~", "right") for name in table.column_names]
    return table.rename_columns(names)


def shorter(table):
    return replaced(table, "left_sigma", pa.array([[0.0] * 20] * len(table), pa.list_(pa.float32(), 20)))


def negative_sigma(table):
    rows = table.column("right_sigma").to_pylist()
    rows[3][7] = -0.002
    return replaced(table, "right_sigma", pa.array(rows, table.column("right_sigma").type))


def nulls(table):
    return replaced(table, "left_residual", pa.array([None] * len(table), pa.float32()))


def null_joint(table):
    """One joint of a row is null; the row itself is not."""
    rows = table.column("left_keypoints").to_pylist()
    rows[1][3] = None
    return replaced(table, "left_keypoints", pa.array(rows, table.column("left_keypoints").type))


def null_number(table):
    rows = table.column("right_transl").to_pylist()
    rows[2][1] = None
    return replaced(table, "right_transl", pa.array(rows, table.column("right_transl").type))


def lists_of_any_width(table):
    """As pandas and polars write it: without the names of sequences, lists instead of fixed widths, double."""
    kinds = [pa.float64(), pa.list_(pa.float64()), pa.list_(pa.list_(pa.float64()))]
    for name in table.column_names:
        depth = str(table.schema.field(name).type).count("fixed_size_list")
        if depth:
            table = replaced(table, name, pa.array(table.column(name).to_pylist(), kinds[depth]))
    return table.drop_columns(["sequence"])


def twice(table):
    return table.append_column("frame", table.column("frame"))


def not_text(table):
    return replaced(table, "sequence", pa.array([7] * len(table)))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (null_joint, "left_keypoints: expected NaN where a number is missing, but found null"),
        (null_number, "right_transl: expected NaN where a number is missing, but found null"),
        (lists_of_any_width, "left_global_orient: expected fixed_size_list<item: float>[3], but found list<"),
        (twice, "frame: expected int32, but found 2 such columns"),
        (lambda table: replaced(table, "frame", pa.array(["a"] * len(table))), "frame: expected int32"),
        (millimetres, "expected metres, a palm of about 0.09 m"),
        (degrees, "They look like degrees"),
        (exchanged, "exchange the columns of left and right"),
        (shorter, "left_sigma: expected fixed_size_list"),
        (negative_sigma, "expected standard errors (sigma) above zero, but found -0.002"),
        (nulls, "expected NaN where a number is missing"),
        (lambda table: table.drop_columns(["right_transl"]), "right_transl: expected fixed_size_list"),
        (lambda table: table.slice(2), "expected frames 0 to 8 in order"),
        (lambda table: table.take(list(range(len(table)))[::-1]), "expected frames 0 to 8 in order"),
    ],
)
def test_a_wrong_table_of_frames_is_refused(exported, tmp_path, capsys, change, sentence):
    _, folder = exported
    rewrite(folder / "data" / "touching.parquet", change)
    status, said = run(capsys, "import", "hub", folder, tmp_path / "back", "--only", "touching")
    assert status == 2
    assert sentence in said
    assert not (tmp_path / "back").exists()


def null_in_k(table):
    rows = table.column("K").to_pylist()
    rows[0][1] = None
    return replaced(table, "K", pa.array(rows, table.column("K").type))


def no_utf8(table):
    names = pa.array([b"\xff\xfe"] * len(table), pa.binary())
    return replaced(table, "view", names.view(pa.string()))


@pytest.mark.parametrize(
    ("file", "change", "sentence"),
    [
        ("cameras.parquet", null_in_k, "K: expected NaN where a number is missing, but found null"),
        ("cameras.parquet", no_utf8, "expected a Parquet file, but it cannot be read"),
        ("cameras.parquet", lambda table: table.drop_columns(["view"]), "view: expected string, but found 0 such"),
        ("sequences.parquet", not_text, "sequence: expected string, but found int64"),
        ("sequences.parquet", lambda table: table.drop_columns(["sequence"]), "sequence: expected string"),
        ("sequences.parquet", lambda table: replaced(table, "fps", pa.array(["30"] * len(table))), "fps: expected"),
    ],
)
def test_a_wrong_table_of_sequences_or_cameras_is_refused(exported, tmp_path, capsys, file, change, sentence):
    _, folder = exported
    rewrite(folder / file, change)
    status, said = run(capsys, "import", "hub", folder, tmp_path / "back")
    assert status == 2
    assert sentence in said
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize("name", ["../../outside", "/tmp/outside", "..", "", "touching", None])
def test_names_that_climb_out_are_refused(exported, tmp_path, capsys, name):
    _, folder = exported
    change = lambda table: replaced(table, "sequence", pa.array([table["sequence"][0].as_py(), name], pa.string()))  # noqa: E731
    rewrite(folder / "sequences.parquet", change)
    status, said = run(capsys, "import", "hub", folder, tmp_path / "back")
    assert status == 2
    assert "expected different names of letters" in said


def test_files_that_are_none(exported, tmp_path, capsys):
    _, folder = exported
    assert "there is none" in run(capsys, "import", "hub", tmp_path / "nowhere", tmp_path / "back")[1]
    path = folder / "data" / "parting.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    assert "cannot be read" in run(capsys, "import", "hub", folder, tmp_path / "back")[1]
    path.write_text("no table")
    assert "cannot be read" in run(capsys, "import", "hub", folder, tmp_path / "back")[1]


def test_a_table_that_expands_is_refused_before_it_does(exported, tmp_path, capsys):
    """A few kilobytes of Parquet that say a hundred thousand numbers in each row."""
    _, folder = exported
    path = folder / "data" / "touching.parquet"
    many = pa.array([np.zeros(100_000, np.float32)] * 9, pa.list_(pa.float32()))
    table = replaced(pq.read_table(path), "left_sigma", many)
    pq.write_table(table, path, compression="zstd")
    status, said = run(capsys, "import", "hub", folder, tmp_path / "back", "--only", "touching")
    assert status == 2
    assert "rows with 900000 values" in said


def test_too_many_rows_are_refused(exported, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("handpipe.exchange.datasets.hub.reader.MAX_FRAMES", 8)
    status, said = run(capsys, "import", "hub", exported[1], tmp_path / "back")
    assert status == 2
    assert "expected at most 8 frames" in said


def test_too_many_frames_together_are_refused_and_fewer_are_not(exported, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("handpipe.exchange.datasets.hub.reader.MAX_FRAMES", 14)
    status, said = run(capsys, "import", "hub", exported[1], tmp_path / "back")
    assert status == 2
    assert "expected at most 14 frames to import at once, but found 15" in said
    assert run(capsys, "import", "hub", exported[1], tmp_path / "back", "--only", "touching")[0] == 0


def test_a_text_that_many_rows_repeat_is_there_once(exported, tmp_path, capsys):
    """As a dictionary it takes few bytes in the file; row by row it would fill the memory."""
    _, folder = exported
    path = folder / "sequences.parquet"
    row = pq.read_table(path).slice(0, 1)
    text = pa.DictionaryArray.from_arrays(pa.array(np.zeros(20_000, np.int32)), pa.array(["x" * 10_000]))
    many = replaced(pa.concat_tables([row] * len(text)).combine_chunks(), "left_hand_model", text)
    pq.write_table(many, path)
    before = pa.default_memory_pool().max_memory()
    status, said = run(capsys, "import", "hub", folder, tmp_path / "back")
    assert status == 2
    assert "left_hand_model: expected at most 200 letters, but found 10000" in said
    assert pa.default_memory_pool().max_memory() - before < 50e6


def test_names_of_many_sequences_are_compared_in_no_time(exported, tmp_path, capsys):
    _, folder = exported
    path = folder / "sequences.parquet"
    row = pq.read_table(path).slice(0, 1)
    names = pa.array([f"n{i}" for i in range(90_000)])
    pq.write_table(replaced(pa.concat_tables([row] * len(names)), "sequence", names), path)
    start = time.process_time()
    assert "frames to import at once" in run(capsys, "import", "hub", folder, tmp_path / "back")[1]
    assert time.process_time() - start < 10


def test_altered_bytes_are_noticed(exported, tmp_path, capsys):
    _, folder = exported
    path = folder / "data" / "touching.parquet"
    group = pq.ParquetFile(path).metadata.row_group(0)
    names = [group.column(i).path_in_schema.split(".")[0] for i in range(group.num_columns)]
    column = group.column(names.index("left_transl"))
    content = bytearray(path.read_bytes())
    content[column.data_page_offset + column.total_compressed_size // 2] ^= 1
    path.write_bytes(content)
    status, said = run(capsys, "import", "hub", folder, tmp_path / "back")
    assert status == 2
    assert "cannot be read" in said


def halves(table):
    """A joint without its standard error in the first row, an error without its joint in the second."""
    points, sigma = (table.column(f"left_{name}").to_pylist() for name in ("keypoints", "sigma"))
    sigma[0][4], points[1][5] = float("nan"), [float("nan")] * 3
    table = replaced(table, "left_sigma", pa.array(sigma, table.column("left_sigma").type))
    return replaced(table, "left_keypoints", pa.array(points, table.column("left_keypoints").type))


def infinite(table):
    return replaced(table, "left_transl", pa.array([[np.inf] * 3] * len(table), pa.list_(pa.float32(), 3)))


def test_a_joint_without_its_standard_error_is_missing(exported, tmp_path, capsys):
    """And an error without a joint is none: they are there together or not at all."""
    rewrite(exported[1] / "data" / "touching.parquet", halves)
    status, said = run(capsys, "import", "hub", exported[1], tmp_path / "back")
    assert status == 0, said
    store = Store(str(tmp_path / "back" / "touching" / "session.zarr"))
    points, sigma = store.read("keypoints", "points"), store.read("keypoints", "sigma")
    assert np.isnan(points[0, 0, 4]).all()
    assert np.isnan(sigma[1, 0, 5])
    assert (np.isfinite(points).all(axis=-1) == np.isfinite(sigma)).all()


def test_infinity_is_refused(exported, tmp_path, capsys):
    rewrite(exported[1] / "data" / "touching.parquet", infinite)
    status, said = run(capsys, "import", "hub", exported[1], tmp_path / "back")
    assert status == 2
    assert "transl: expected numbers of hands" in said


@pytest.mark.parametrize(
    ("column", "value"),
    [("T_cam_world", [[2.0] * 4] * 4), ("K", [[0.0] * 3] * 3), ("width", -5), ("distortion", [np.inf] * 5)],
)
def test_what_is_no_camera_is_refused(exported, tmp_path, capsys, column, value):
    def change(table):
        values = [value, *table[column].to_pylist()[1:]]
        return replaced(table, column, pa.array(values, table.schema.field(column).type))

    rewrite(exported[1] / "cameras.parquet", change)
    status, said = run(capsys, "import", "hub", exported[1], tmp_path / "back")
    assert status == 2
    assert "expected a rotation in T_cam_world" in said


def test_a_column_whose_name_is_no_text_is_refused(exported, tmp_path, capsys):
    _, folder = exported
    path = folder / "data" / "touching.parquet"
    path.write_bytes(path.read_bytes().replace(b"right_transl", b"\xd4ight_transl"))
    status, said = run(capsys, "import", "hub", folder, tmp_path / "back", "--only", "touching")
    assert status == 2
    assert "expected a Parquet file, but it cannot be read" in said
