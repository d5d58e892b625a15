"""Windows of motion to learn from: what is in them, which a step sees, and what cannot be used."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation, Slerp
from stored_motions import PROCEDURAL_IDS, ramp, write_mano, write_samples

from handpipe.core.errors import GenerationError, HandpipeError, StoreError
from handpipe.core.storage.store import Store
from handpipe.generation.training.motion_sources import BlockCache, MotionSource
from handpipe.generation.training.windows import Windows, open_sources, slerp, split
from handpipe.hand.procedural_motion import two_hand_motion


def in_memory(motion, fps, valid=None, name="memory", block_frames=7):
    packed = np.concatenate([motion[key] for key in ("global_orient", "hand_pose", "transl")], axis=-1)
    packed = packed.astype(np.float32)
    return MotionSource(
        name=name,
        origin=name,
        fps=fps,
        hand_model=(PROCEDURAL_IDS[0], PROCEDURAL_IDS[1]),
        frames=len(packed),
        valid=np.ones(len(packed), bool) if valid is None else valid,
        block_frames=block_frames,
        load=lambda start, stop: packed[start:stop].copy(),
        load_betas=lambda: motion["betas"],
        cache=BlockCache(),
    )


# ---- windows -----------------------------------------------------------------------------------------------------


def test_a_whole_multiple_of_the_rate_gives_a_window_for_every_phase():
    """13 frames at 120 fps, windows of 3 at 30: they reach over 9 frames, so 5 starts, and thinned by four."""
    windows = Windows([in_memory(ramp(13), 120.0)], 3, 30.0)
    assert len(windows) == 5
    (batch,) = windows.every(stride=0, size=8)
    assert batch.transl[:, :, 0, 0].tolist() == [[s, s + 4, s + 8] for s in range(5)]
    assert batch.start.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("fps", [29.97, 119.88])
def test_broadcast_rates_count_as_the_round_ones(fps):
    windows = Windows([in_memory(ramp(13), fps)], 3, 30.0)
    (batch,) = windows.every(stride=100)
    assert batch.transl[0, :, 0, 0].tolist() == ([0, 1, 2] if fps < 30 else [0, 4, 8])


@pytest.mark.parametrize("fps", [25.0, 45.0, 50.0, 12.0])
def test_other_rates_are_interpolated_along_the_line_and_the_arc(fps):
    source = in_memory(ramp(30, turn=0.3), fps)
    windows = Windows([source], 4, 30.0)
    (batch,) = windows.every(stride=1000)
    at = np.arange(4) * fps / 30
    np.testing.assert_allclose(batch.transl[0, :, 0, 0], at, atol=1e-5)
    np.testing.assert_allclose(batch.transl[0, :, 1, 2], at, atol=1e-5)
    np.testing.assert_allclose(batch.global_orient[0, :, 0, 2], 0.3 * at, atol=1e-5)
    assert len(windows) == 30 - int(np.ceil(3 * fps / 30 - 1e-9))


def test_interpolated_rotations_take_the_shorter_way_past_pi():
    """3.0 rad and -3.0 rad about z are 0.283 rad apart; the middle is pi, not 0."""
    motion = ramp(2)
    motion["global_orient"][:, 0] = [[0, 0, 3.0], [0, 0, -3.0]]
    (batch,) = Windows([in_memory(motion, 15.0)], 2, 30.0).every(1)
    assert Rotation.from_rotvec(batch.global_orient[0, 1, 0]).magnitude() == pytest.approx(np.pi, abs=1e-5)


@given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([0.0, 1e-9, 1e-4, 0.3, 3.0, 30.0]))
def test_slerp_is_scipys(seed, scale):
    """Also for rotations near to one another, and written with more than a whole turn."""
    rng = np.random.default_rng(seed)
    start = rng.normal(0, 2, 3)
    end, share = start + scale * rng.normal(0, 1, 3), rng.uniform()
    between = Rotation.from_rotvec(slerp(start, end, np.array(share)))
    twin = Slerp([0, 1], Rotation.from_rotvec([start, end]))(share)
    assert (between.inv() * twin).magnitude() < 1e-7
    assert (between.inv() * Rotation.from_rotvec(slerp(end, start, np.array(1 - share)))).magnitude() < 1e-7


@settings(deadline=None, max_examples=60)
@given(
    valid=st.lists(st.booleans(), min_size=1, max_size=60),
    fps=st.sampled_from([30.0, 60.0, 90.0, 24.0, 50.0, 20.0]),
    frames=st.integers(1, 9),
)
def test_windows_start_exactly_where_all_is_valid_from_first_to_last(valid, fps, frames):
    """Against a loop over every frame of every window."""
    reach = math.ceil((frames - 1) * fps / 30 - 1e-9)
    expected = [
        start for start in range(len(valid) - reach) if all(valid[frame] for frame in range(start, start + reach + 1))
    ]
    source = in_memory(ramp(len(valid)), fps, np.array(valid))
    if not expected:
        with pytest.raises(GenerationError, match="with both hands in all of them"):
            Windows([source], frames, 30.0)
        return
    found = [start for batch in Windows([source], frames, 30.0).every(0, size=7) for start in batch.start]
    assert found == expected


def test_the_longest_run_that_the_error_tells_is_the_longest_that_works():
    valid = np.array([1] * 10 + [0] + [1] * 30 + [0] + [1] * 5, bool)
    for fps, longest in ((30.0, 30), (60.0, 15), (120.0, 8), (45.0, 20), (20.0, 44), (50.0, 18)):
        source = in_memory(ramp(len(valid)), fps, valid)
        assert len(Windows([source], longest, 30.0)) > 0
        with pytest.raises(
            GenerationError, match=f"longest such run gives {longest}. Use --training.window {longest} "
        ):
            Windows([source], longest + 1, 30.0)


def test_every_strides_through_each_source_and_resumes_after_a_gap():
    valid = np.ones(40, bool)
    valid[17] = False
    sources = [in_memory(ramp(40), 30.0, valid, "a"), in_memory(ramp(22), 60.0, None, "b")]
    windows = Windows(sources, 5, 30.0)
    batches = list(windows.every(5, size=3))
    assert [len(batch.start) for batch in batches] == [3, 3, 3]
    starts = np.concatenate([batch.start for batch in batches])
    assert starts.tolist() == [0, 5, 10, 18, 23, 28, 33, 0, 10]
    assert np.concatenate([batch.source for batch in batches]).tolist() == [0] * 7 + [1] * 2
    assert windows.counts.tolist() == [13 + 18, 14]


# ---- which windows a step sees -------------------------------------------------------------------------------------


def test_an_epoch_shows_every_window_once_and_the_next_in_another_order():
    windows = Windows([in_memory(ramp(20), 30.0, name="a"), in_memory(ramp(13), 30.0, name="b")], 4, 30.0)
    assert len(windows) == 27
    drawn = [windows.batch(seed=3, step=step, size=6) for step in range(9)]  # two epochs
    order = [(s, t) for batch in drawn for s, t in zip(batch.source, batch.start, strict=True)]
    everything = {(0, t) for t in range(17)} | {(1, t) for t in range(10)}
    assert set(order[:27]) == set(order[27:]) == everything
    assert order[:27] != order[27:]
    assert order[:27] != sorted(order[:27])


def test_a_batch_depends_on_seed_and_step_alone():
    sources = [in_memory(ramp(50), 30.0)]
    a, b = Windows(sources, 4, 30.0), Windows(sources, 4, 30.0)
    for step in (0, 1, 2, 30):
        a.batch(1, step, 8)
    for name in ("transl", "start", "mirror"):
        np.testing.assert_array_equal(getattr(a.batch(1, 7, 8), name), getattr(b.batch(1, 7, 8), name))
    assert a.batch(1, 7, 8).start.tolist() != a.batch(2, 7, 8).start.tolist()
    mirrored = np.concatenate([a.batch(1, step, 8).mirror for step in range(200)])
    assert abs(mirrored.mean() - 0.5) < 0.05  # 4 standard deviations of 1600 fair coins


def test_the_order_is_the_same_in_every_process_and_version():
    """A figure that must never change: runs resume by it."""
    batch = Windows([in_memory(ramp(50), 30.0)], 4, 30.0).batch(seed=0, step=5, size=8)
    assert batch.start.tolist() == [20, 12, 46, 23, 33, 22, 38, 42]
    assert batch.mirror.astype(int).tolist() == [0, 0, 0, 1, 1, 1, 1, 1]


def test_a_batch_may_be_larger_than_an_epoch():
    batch = Windows([in_memory(ramp(5), 30.0)], 4, 30.0).batch(seed=0, step=0, size=5)
    assert sorted(batch.start[:2]) == sorted(batch.start[2:4]) == [0, 1]
    assert batch.transl.shape == (5, 4, 2, 3)
    assert batch.betas.shape == (5, 2, 10)


# ---- sources -------------------------------------------------------------------------------------------------------


def test_a_fitted_session_by_its_folder_or_its_store(tmp_path):
    path = write_mano(tmp_path / "take" / "session.zarr", ramp(40))
    for name in (str(tmp_path / "take"), path, f"{path}/"):
        (source,) = open_sources([name], 30.0, 8, None)
        assert source.name == name
        assert source.read(15, 18)["transl"][:, 0, 0].tolist() == [15, 16, 17]
        assert source.read(38, 99)["hand_pose"].shape == (2, 2, 45)
        np.testing.assert_array_equal(source.betas, np.full((2, 10), 0.5, np.float32))


def test_the_same_session_twice_is_one_source(tmp_path):
    path = write_mano(tmp_path / "take" / "session.zarr", ramp(40))
    names = [path, str(tmp_path / "take"), str(tmp_path / "take" / ".." / "take"), "procedural:2", "procedural:3"]
    sources = open_sources(names, 30.0, 8, None)
    assert [source.name for source in sources] == ["procedural/0", "procedural/1", "procedural/2", path]


def test_frames_with_one_hand_or_without_numbers_are_in_no_window(tmp_path):
    motion, valid = ramp(60), np.ones((60, 2), bool)
    valid[10, 1] = False
    motion["hand_pose"][30, 0, 7] = np.nan
    (source,) = open_sources([write_mano(tmp_path / "s.zarr", motion, valid=valid)], 30.0, 5, None)
    assert np.flatnonzero(~source.valid).tolist() == [10, 30]
    for batch in Windows([source], 5, 30.0).every(0):
        assert np.isfinite(batch.hand_pose).all()
        assert not ((batch.start <= 10) & (batch.start + 4 >= 10)).any()


def test_generated_motion_is_one_source_for_each_sample(tmp_path):
    path = write_samples(tmp_path / "out.zarr", ramp(20), samples=3)
    sources = open_sources([path], 30.0, 8, None)
    assert [source.name for source in sources] == [f"{path}[{s}]" for s in range(3)]
    assert [source.read(4, 5)["transl"][0, 0].tolist() for source in sources] == [[4, 0, 0], [5, 1, 1], [6, 2, 2]]
    with pytest.raises(GenerationError, match="all of them are held out"):
        split(sources, [path])


def test_procedural_clips_are_the_ones_of_their_seeds():
    sources = open_sources(["procedural:3"], 30.0, 60, None)
    assert [(source.name, source.frames) for source in sources] == [(f"procedural/{s}", 180) for s in range(3)]
    clip = two_hand_motion(180, 30.0, seed=2)
    np.testing.assert_array_equal(sources[2].read(0, 180)["transl"], clip.transl.astype(np.float32))
    np.testing.assert_array_equal(sources[2].betas, clip.betas.astype(np.float32))
    assert len(open_sources(["procedural"], 60.0, 60, None)) == 256


def test_a_long_source_is_read_in_pieces_within_the_bound(tmp_path):
    """40 000 frames are 16 MB; with 2 MB of cache, windows from everywhere are right and the bound is kept."""
    frames = 40_000
    path = write_mano(tmp_path / "long.zarr", ramp(frames, turn=0), chunk=512)
    (source,) = open_sources([path], 30.0, 60, None, cache_bytes=2_000_000)
    windows = Windows([source], 60, 30.0)
    for step in range(5):
        batch = windows.batch(0, step, 16)
        np.testing.assert_array_equal(batch.transl[:, :, 0, 0], batch.start[:, None] + np.arange(60))
        assert source.cache.bytes <= 2_000_000


def test_the_cache_keeps_what_was_used_last():
    cache, loaded = BlockCache(limit_bytes=24), []

    def get(key):
        return cache.get(key, lambda: loaded.append(key) or np.zeros(1))  # 8 bytes

    for key in "abcaada":
        get(key)
    assert loaded == ["a", "b", "c", "d"]
    get("b")  # the one that `d` put out
    assert loaded == ["a", "b", "c", "d", "b"]
    assert cache.bytes == 24


# ---- splitting -----------------------------------------------------------------------------------------------------


def test_whole_sources_are_held_out(tmp_path):
    path = write_mano(tmp_path / "take" / "session.zarr", ramp(40))
    generated = write_samples(tmp_path / "out.zarr", ramp(20), samples=2)
    sources = open_sources([path, generated, "procedural:4"], 30.0, 8, None)
    learn, judge = split(sources, [str(tmp_path / "take"), "procedural:2"])
    assert [source.name for source in judge] == ["procedural/0", "procedural/1", path]
    assert [source.name for source in learn] == [
        "procedural/2",
        "procedural/3",
        f"{generated}[0]",
        f"{generated}[1]",
    ]
    assert split(sources, []) == (sources, [])
    with pytest.raises(GenerationError, match="elsewhere: expected to hold out one of the sources"):
        split(sources, ["elsewhere"])


# ---- what cannot be used -------------------------------------------------------------------------------------------


def test_no_such_source(tmp_path):
    with pytest.raises(GenerationError, match=r"nowhere: expected a session folder.*no such folder"):
        open_sources([str(tmp_path / "nowhere")], 30.0, 8, None)
    (tmp_path / "videos").mkdir()
    with pytest.raises(GenerationError, match=r"neither session.zarr nor zarr.json.*handpipe fit"):
        open_sources([str(tmp_path)], 30.0, 8, None)
    with pytest.raises(GenerationError, match="no source is given"):
        open_sources([], 30.0, 8, None)
    for number in ("", "0", "-1", "many", "99999999"):
        with pytest.raises(GenerationError, match=f"a number of clips after the colon.*got '{number}'"):
            open_sources([f"procedural:{number}"], 30.0, 8, None)
    with pytest.raises(HandpipeError):
        open_sources(["nosuchprotocol://x"], 30.0, 8, None)


def test_no_fitted_hands(tmp_path):
    Store(str(tmp_path / "session.zarr")).open()
    with pytest.raises(GenerationError, match=r"the group `mano` .* does not exist. Run `handpipe fit"):
        open_sources([str(tmp_path)], 30.0, 8, None)
    path = write_mano(tmp_path / "half.zarr", ramp(40), finish=False)
    with pytest.raises(GenerationError, match=r"the group `mano` .* is incomplete. Run `handpipe fit"):
        open_sources([path], 30.0, 8, None)


def test_nothing_valid_says_what_there_is(tmp_path):
    path = write_mano(tmp_path / "short.zarr", ramp(40), fps=60.0)
    with pytest.raises(
        GenerationError,
        match=r"short.zarr: expected 60 frames at 30 fps with both hands in all of them, but of its 40 frames at "
        r"60 fps the longest such run gives 20. Use --training.window 20 or less, or add longer",
    ):
        open_sources([path], 30.0, 60, None)
    with pytest.raises(GenerationError, match=r"procedural/0 \(the best of 3 sources\).* gives 180"):
        open_sources([path, "procedural:2"], 30.0, 500, None)
    never = write_mano(tmp_path / "never.zarr", {**ramp(40), "betas": np.full((2, 10), np.nan)})
    with pytest.raises(GenerationError, match=r"gives 0\. Both hands are valid in 0 frames"):
        open_sources([never], 30.0, 8, None)
    one = write_mano(tmp_path / "one.zarr", ramp(1))
    with pytest.raises(GenerationError, match=r"gives 1\. Add longer recordings: a window has 8 frames or more\."):
        open_sources([one], 30.0, 8, None)


def test_hand_models_are_not_mixed(tmp_path):
    other = write_mano(tmp_path / "mano.zarr", ramp(40), ids=["mano-1", "mano-2"])
    with pytest.raises(GenerationError, match=r"hand model, but found procedural-.* in procedural/0, procedural/1, "
                       r"procedural/2 and 1 more; mano-1, mano-2 in .*mano.zarr"):  # fmt: skip
        open_sources([other, "procedural:4"], 30.0, 8, None)
    with pytest.raises(GenerationError, match=r"the hand model in use \(procedural-.* from the package\), but found "
                       r"mano-1, mano-2 in .*--hand-model"):  # fmt: skip
        open_sources([other], 30.0, 8, None)


@pytest.mark.parametrize(
    ("attrs", "says"),
    [
        ({"fps": None}, "frames per second, above 0 in the attribute `fps`, but found None"),
        ({"fps": 0}, "frames per second, above 0 in the attribute `fps`, but found 0"),
        ({"hand_model": "mano"}, "ids of two hand models in the attribute `hand_model`, but found 'mano'"),
    ],
)
def test_groups_that_are_not_ours(tmp_path, attrs, says):
    path = write_mano(tmp_path / "s.zarr", ramp(40))
    Store(path).set_attrs("mano", **attrs)
    with pytest.raises(StoreError, match=says):
        open_sources([path], 30.0, 8, None)


def test_arrays_of_other_shapes_are_named(tmp_path):
    store = Store(write_samples(tmp_path / "s.zarr", {**ramp(20), "hand_pose": np.zeros((20, 2, 48))}, samples=1))
    says = r"mano/hand_pose: expected numbers of shape \(20, 2, 45\).*found float32"
    with pytest.raises(GenerationError, match=says):
        open_sources([store.url], 30.0, 8, None)


def test_reading_motion_needs_no_engine():
    imported = "import sys, handpipe.generation.training.windows; "
    code = imported + "print([m for m in ('dask', 'cv2', 'tyro') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert out.stdout.strip() == "[]"
