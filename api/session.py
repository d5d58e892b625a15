"""A session's results from Python: `hp.open` and what it returns."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy import ndarray

from ..core.cameras import Cameras
from ..core.errors import ConfigError, ModelError, SessionError
from ..core.hands import HANDS
from ..core.quality import Check, Verdict, from_attributes, verdict
from ..core.storage.opened_arrays import METADATA
from ..core.storage.schema import read_cameras
from ..core.storage.store import Store

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

    from ..hand.model import HandModel

Hand = Literal["left", "right"]

Plot = Literal["residual", "jitter", "coverage"]


@dataclass(frozen=True, eq=False)
class Session:
    """The results of a session, or generated motion. `hp.open` returns it.

    Every group of the store is an `xarray.Dataset` that is read when its values are used; docs/store.md lists the
    arrays. Lengths are metres, angles radians, times seconds. Missing values are NaN.

    Examples:
        >>> s = hp.open(session)
        >>> s.views[:3], s.verdict
        (('c0', 'c1', 'c2'), 'good')
        >>> s.mano.joints.sel(hand="left", joint="index_tip").dims
        ('frame', 'xyz')
    """

    root: Path
    """The session folder; for generated motion the store."""
    store: Store
    """Where the results are."""
    rig: Store
    """Where the cameras are: the same store, unless the run was pruned."""
    hand_model: str | None = None
    """Folder of the hand model; None: the procedural hands."""

    @property
    def tree(self) -> xr.DataTree:
        """Every group of the store at once, also of stores that `xarray.open_datatree` refuses.

        Examples:
            >>> sorted(hp.open(session).tree.children)[-3:]
            ['shape', 'timeline', 'tracks']
        """
        import xarray as xr

        # Group by group: in stores of earlier versions the engine's marks have nameless axes, and xarray stops at them.
        names = sorted(name for name in self.store.groups() if not name.startswith("_"))
        groups = {
            name: xr.open_zarr(self.store.url, group=name, consolidated=False, decode_timedelta=False) for name in names
        }
        return xr.DataTree.from_dict({"/": xr.Dataset(attrs=dict(self.store.attrs())), **groups})

    def group(self, name: str) -> xr.Dataset:
        """One group of the store, such as `detections`; `time` is a coordinate of `frame`.

        Args:
            name: of the group; docs/store.md lists them.

        Raises:
            SessionError: it is not computed yet.

        Examples:
            >>> hp.open(session).group("detections").points.dims
            ('view', 'frame', 'candidate', 'joint', 'xy')
        """
        import xarray as xr

        store = self.rig if name == "cameras" else self.store
        if not store.complete(name):
            raise SessionError(
                f"{store.url}: expected the group `{name}`, but it is not computed yet. "
                f"Run `handpipe run {self.root}`, or `hp.run`."
            )
        found = xr.open_zarr(store.url, group=name, consolidated=False, decode_timedelta=False)
        if "frame" not in found.sizes or "time" in found:
            return found
        attributes = {"units": "second", "description": "when the frame was taken"}
        return found.assign_coords(time=("frame", self._times(found.sizes["frame"], name), attributes))

    def _times(self, frames: int, group: str) -> ndarray:
        """(frame,) seconds: measured, or by the rate."""
        if self.store.complete("clock") and len(instant := self.store.read("clock", "instant")) == frames:
            return instant
        rates = (self.store.attrs(name).get("fps") for name in (group, "mano", "keypoints", "timeline"))
        return np.arange(frames) / next((float(rate) for rate in rates if rate), 1.0)

    @property
    def views(self) -> tuple[str, ...]:
        """Names of the views, in the order of every `view` axis; none for motion without clips."""
        return self.rig.labels("cameras", "view") if self.rig.complete("cameras") else ()

    @property
    def fps(self) -> float:
        """Frames per second."""
        rates = (self.store.attrs(name).get("fps") for name in ("mano", "keypoints", "timeline"))
        return next((float(rate) for rate in rates if rate), float("nan"))

    @property
    def cameras(self) -> Cameras:
        """The rig: `K`, `distortion`, `T_cam_world`, `project(points_m)`, `undistort(uv_px)`.

        Examples:
            >>> s = hp.open(session)
            >>> s.cameras.project(s.mano.joints.values).shape  # (view, frame, hand, joint, xy), pixels
            (8, 8, 2, 21, 2)
        """
        if not self.rig.complete("cameras"):
            self.group("cameras")
        return read_cameras(self.rig)

    @property
    def keypoints(self) -> xr.Dataset:
        """Triangulated joints: `points` (frame, hand, joint, xyz) metres, `sigma` (frame, hand, joint) metres.

        Examples:
            >>> dict(hp.open(session).keypoints.points.sizes)
            {'frame': 8, 'hand': 2, 'joint': 21, 'xyz': 3}
        """
        return self.group("keypoints")

    @property
    def mano(self) -> xr.Dataset:
        """Fitted hands in smplx's convention.

        `global_orient` (frame, hand, 3), `hand_pose` (frame, hand, 45) axis-angle with `flat_hand_mean=True`, `transl`
        (frame, hand, 3), `betas` (hand, 10), `joints` (frame, hand, joint, xyz) metres, `residual` (frame, hand)
        metres, `valid` (frame, hand). Generated motion has a leading axis `sample` and no residual.

        Examples:
            >>> hp.open(session).mano.time.values[:3].round(3).tolist()
            [0.0, 0.2, 0.4]
        """
        return self.group("mano")

    @property
    def quality(self) -> tuple[Check, ...]:
        """Checks of the result, each with `name`, `severity`, `value`, `limit`, `view`, `reason` and `remedy`.

        Examples:
            >>> hp.open(session).quality[0].name
            'hands in the images'
        """
        return from_attributes(self.store.attrs("quality"))

    @property
    def verdict(self) -> Verdict | None:
        """`good`, `usable with warnings` or `not usable`; None where nothing was checked."""
        return verdict(self.quality) if self.quality else None

    @property
    def models(self) -> tuple[HandModel, HandModel]:
        """The left and the right hand model that the hands were fitted with.

        Raises:
            ModelError: it is not the one of `hand_model`.
        """
        from ..hand.loading import hand_models

        models = hand_models(self.hand_model)
        here, wanted = [model.model_id for model in models], self.store.attrs("mano").get("hand_model")
        if here != wanted:
            raise ModelError(
                f"{self.store.url}: expected the hand model that it was made with ({wanted}), but hand_model "
                f"{'is not given' if self.hand_model is None else f'= {self.hand_model}'} stands for {here}. "
                "Name the folder of that model: `hp.open(..., hand_model=FOLDER)`."
            )
        return models

    def vertices(self, hand: Hand, frames: slice | int | Sequence[int] = slice(None)) -> ndarray:
        """Mesh vertices of one hand.

        Args:
            hand: `left` or `right`.
            frames: which; default all.

        Returns:
            (frame, 778, 3) metres in the world, NaN where the hand is not valid; (778, 3) for one frame; with a
            leading axis for the samples of generated motion.

        Examples:
            >>> hp.open(session).vertices("left", slice(0, 5)).shape
            (5, 778, 3)
        """
        i = _index(hand)
        model, mano = self.models[i], self.mano.isel(hand=i, frame=frames)
        pose = [mano[name].values.astype(float) for name in ("global_orient", "hand_pose", "transl")]
        betas = mano.betas.values.astype(float)
        if betas.ndim == 2 and pose[0].ndim == 3:
            betas = betas[:, None]
        return np.where(mano.valid.values[..., None, None], model.vertices(betas, *pose), np.nan)

    @property
    def faces(self) -> dict[str, ndarray]:
        """(face, 3) vertex indices of each hand, by name.

        Examples:
            >>> sorted(hp.open(session).faces)
            ['left', 'right']
        """
        return {hand: model.faces for hand, model in zip(HANDS, self.models, strict=True)}

    def plot(self, what: Plot = "residual", ax: Axes | None = None) -> Axes:
        """Draw with matplotlib: fit `residual` in mm, `jitter` in m/s², or `coverage`, the views that see each hand.

        Args:
            what: what to draw, over time in seconds.
            ax: where; None: new axes.

        Examples:
            >>> hp.open(session).plot("coverage").get_ylabel()
            'views'
        """
        if ax is None:
            from matplotlib import pyplot

            ax = pyplot.figure(figsize=(7, 2.6), layout="constrained").subplots()
        time, values, unit = self._plotted(what)
        for i, (hand, color) in enumerate(zip(HANDS, ("#d55e00", "#0072b2"), strict=True)):
            ax.plot(time, values[:, i], color=color, label=hand)
        ax.set(xlabel="time (s)", ylabel=unit)
        ax.legend(frameon=False)
        return ax

    def _plotted(self, what: Plot) -> tuple[ndarray, ndarray, str]:
        """Times, (frame, hand) values, unit."""
        from ..reporting.measures import acceleration_m_s2

        found = self.keypoints if what == "coverage" else self.mano
        time = found.time.values
        match what:
            case "residual":
                return time, 1e3 * found.residual.where(found.valid).values, "residual (mm)"
            case "jitter":
                joints = found.joints.where(found.valid).values.astype(float)
                return time, acceleration_m_s2(joints, self.fps), "acceleration (m/s²)"
            case "coverage":
                return time, (found.assignment >= 0).sum("view").values, "views"
        raise ConfigError(f"plot: expected residual, jitter or coverage, but got {what!r}. Use one of these.")

    def report(self, out: str | Path | None = None) -> Path:
        """Write the page of `handpipe report`.

        Args:
            out: the HTML file; None: report.html in the session folder.
        """
        from ..reporting.report import write_report
        from ..reporting.results import read_results

        path = self.root / "report.html" if out is None else Path(out)
        write_report(read_results(self.root, self.store, self.rig, self.hand_model), path, (), {})
        return path


def open(session: str | Path, *, store: str | None = None, hand_model: str | None = None) -> Session:
    """Open the results of a session, or a store.

    Args:
        session: a session folder; or a store: of results, of the truth, or of generated motion.
        store: address of the results, if they are not in the session folder.
        hand_model: folder with the model that the hands were fitted with; None: the procedural hands.

    Raises:
        SessionError: nothing was computed yet.
        StoreError: it is no store, or a newer handpipe wrote it.

    Examples:
        >>> hp.open(session).verdict
        'good'
    """
    root = Path(session)
    address = store or str(root if (root / METADATA).is_file() else root / "session.zarr")
    found = Store(address.rstrip("/"))
    if not found.exists():
        raise SessionError(
            f"{found.url}: expected the results of a session, but nothing was computed yet. "
            f"Run `handpipe run {root}`, or `hp.run`."
        )
    return Session(root, found, found, hand_model)


def _index(hand: str) -> int:
    if hand not in HANDS:
        raise ConfigError(f"hand: expected {' or '.join(HANDS)}, but got {hand!r}. Correct it.")
    return HANDS.index(hand)
