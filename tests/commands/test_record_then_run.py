"""`handpipe record --then run`: one command from cameras to MANO."""

from __future__ import annotations

import json
import shutil

import numpy as np
import zarr
from recorded import rows_of, write_rig

from handpipe.capture.recording.channel import TOO_SLOW
from handpipe.cli import main


def test_record_then_run_goes_on_to_mano(tmp_path, computed, capsys):
    clips = {path.stem: str(path) for path in sorted((computed / "videos").iterdir())}
    rig = {
        **{"rate": 5.0, "keep_free_gb": 0.0, "queue_mb": 64.0, "encoder": {"codec": "ffv1"}},
        **{"defaults": {"backend": "file"}, "cameras": {name: {"source": path} for name, path in clips.items()}},
        **{"session": {"engine": {"workers": 0}}},
    }
    (tmp_path / "day").mkdir()
    shutil.copy(computed / "cameras.toml", tmp_path / "day")
    words = ["record", str(tmp_path / "day"), "--config", str(write_rig(tmp_path, rig)), "--then", "run", "--json"]
    assert main(words) in (0, 3)
    figures = json.loads(capsys.readouterr().out)
    take = tmp_path / "day" / "take-001"
    assert figures["recording"] == str(take)
    assert figures["run"]["session"] == str(take)
    # A busy machine may be late for a trigger; what was kept is what the session's own clips show.
    rows = [row for row in rows_of(take)["c0"] if row["missing"] != TOO_SLOW]
    own = {int(row["sync_index"]): at for at, row in enumerate(rows) if row["frame_index"]}
    assert len(own) >= 6
    found, given = (zarr.open_group(str(root / "session.zarr"), mode="r") for root in (take, computed))
    points, expected = (np.asarray(group["detections/points"]) for group in (found, given))
    np.testing.assert_array_equal(points[:, list(own)], expected[:, list(own.values())])
    assert np.isfinite(np.asarray(found["mano/joints"])).all(-1).any()
