"""Sessions through the stages: which are asked for, what they depend on, in which store they meet."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from .calibration import stage as calibration_stage
from .calibration.cameras_toml import publish, supplied_cameras
from .capture import detect as detect_stage
from .capture.crop_detection import CropDetector
from .capture.damage import UntilDamage
from .capture.ignored import FOLDERS
from .capture.installed import chosen_detectors
from .capture.regions.expected import Expected
from .capture.session import content_hashes, judge, read_session
from .core.cameras_file import read_cameras, unlike_views
from .core.cluster.cluster import Cluster
from .core.engine import Engine, Plan, Progress
from .core.errors import SessionError, StoreError
from .core.quality import as_attributes, from_attributes
from .core.recording import Clip, Session, regular
from .core.storage.candidates import detections_group
from .core.storage.schema import imported
from .core.storage.store import Store
from .exchange.keypoints2d import session as import2d
from .fitting import stage as fitting_stage
from .fitting.checks import fit_checks
from .rendering import synthesize as synthesize_stage
from .settings import STAGES, Config, Stage, session_folder
from .triangulation import second_look
from .triangulation import stage as triangulation_stage
from .triangulation.places import FIRST_LOOK, first_groups_plan, places_plan, searched
from .triangulation.quality.stage import quality_plan
from .triangulation.time_sync_stage import aligned_plan, clock_plan

NEEDS: Mapping[Stage, tuple[Stage, ...]] = {
    "calibrate": (),
    "detect": (),
    "triangulate": ("calibrate", "detect"),
    "fit": ("calibrate", "detect", "triangulate"),
}


@dataclass(frozen=True)
class Job:
    """What the command line asks for."""

    session: str
    config: Config
    stages: Sequence[Stage]
    force: frozenset[Stage] = frozenset()
    prune: int | None = None
    """Only the first frames; results go to a store of their own."""
    store: str | None = None
    """Address of the store; None is session.zarr in the session's folder."""


@dataclass(frozen=True)
class Done:
    """A session after its stages ran."""

    session: Session
    store: Store
    """Detections, keypoints and MANO."""
    rig: Store
    """Board and cameras: the same store, unless the run was pruned."""
    computed: tuple[str, ...]
    """Groups that had to be computed."""


def run(job: Job, progress: Progress, cluster: Cluster | None = None) -> Done:
    """Bring the asked stages of a session, and what they need, up to date.

    Args:
        job: the session and its stages.
        progress: told what happens.
        cluster: to run on; None starts one for this session.

    Raises:
        HandpipeError: the input or the settings are wrong. What was computed before stays.
    """
    config = job.config
    root = session_folder(config, job.session)
    with Engine(config.engine, progress, cluster) as engine, ExitStack() as locks:
        _make_if_synthetic(job, root, engine)
        capture = config.capture
        rig = Store((job.store or str(root / "session.zarr")).rstrip("/"))
        if rig.local is not None and rig.local.resolve() == (root / "truth.zarr").resolve():
            raise StoreError(
                f"--store {rig.url}: expected a place for results, but found the session's truth. Use another."
            )
        engine.watch(_inputs(root))
        session = _without_clips(job, root, rig) or read_session(root, capture, fps=config.fps)
        for reason in session.left_out.values():
            progress.say(f"warning: left out: {reason}")
        for sentence in (*session.ignored, *session.warnings):
            progress.say(f"warning: {sentence}")
        store = rig if job.prune is None else Store(f"{rig.url.removesuffix('.zarr')}-prune-{job.prune}.zarr")
        for each in {rig, store}:
            each.open()
            locks.enter_context(each.lock(progress.say))
            locks.enter_context(each.metadata_kept())
            each.clean()
        work = _Work(config, session.first(job.prune), store, rig, engine, progress)
        wanted = {need for stage in job.stages for need in (*NEEDS[stage], stage)} if session.clips else {"fit"}
        if "detect" in wanted:
            # What cannot work is said before the calibration takes its time.
            if import2d.imported(rig) and "detect" not in job.force:
                import2d.check_session(session, rig)
            else:
                chosen_detectors(config.detection)
        computed: list[str] = []
        for stage in STAGES:
            if stage in wanted:
                computed += work.run(stage, force=stage in job.force)
        work.conclude()
        for each in {rig, store}:
            each.consolidate()
    return Done(work.session, store, rig, tuple(computed))


def _inputs(root: Path) -> list[Path]:
    """The files that say what a session is, there or not; none that appears later in a folder of clips."""
    clips = [path for kind in FOLDERS if (root / kind).is_dir() for path in (root / kind).iterdir()]
    return [*clips, root / "cameras.toml", root / "session.yaml", root / "timestamps.csv"]


def _readable(store: Store, clips: Iterable[Clip]) -> tuple[dict[str, Path], dict[str, str], UntilDamage]:
    """The files of clips and their contents, by their names in the session, and what reads them."""
    files = {f"{clip.path.parent.name}/{clip.path.name}": clip.path for clip in clips}
    hashes = dict(content_hashes(store, files))
    return files, hashes, UntilDamage(store, {path: hashes[name] for name, path in files.items()})


def _make_if_synthetic(job: Job, root: Path, engine: Engine) -> None:
    named = job.config.sessions.get(job.session)
    if named is not None and named.synthesize is not None:
        synthesize_stage.synthesize(root, named.synthesize, engine)
    elif not root.exists():
        known = ", ".join(sorted(job.config.sessions)) or "none"
        raise SessionError(
            f"{job.session}: expected a session folder, or the name of a session in pipeline.yaml ({known}), but found "
            "neither. Check the spelling, or make one with `handpipe synthesize`."
        )


def _without_clips(job: Job, root: Path, store: Store) -> Session | None:
    """The session when its keypoints were imported, and only `fit` has something to do, or its detections were.

    None for a filmed one.
    """
    if (root / "videos").exists():
        return None
    if import2d.imported(store):
        if "detect" in job.force:
            raise SessionError(
                f"{root}: expected clips to detect hands in, but this session has imported detections and no clips. "
                "Leave out --force, use it with `triangulate` or `fit`, or import other detections."
            )
        return import2d.stored_session(root, store, job.config.fps)
    if not imported(store):
        return None
    fps = float(store.attrs("keypoints")["fps"])
    if "fit" not in job.stages or job.prune is not None:
        asked = f"`{job.stages[-1]}`" if job.prune is None else "--prune"
        raise SessionError(
            f"{root}: expected clips for {asked}, but this session has imported keypoints and no clips. "
            "Use `handpipe fit` on the whole of it."
        )
    if job.config.fps not in (None, fps):
        raise SessionError(
            f"{root}: expected `fps` as imported, {fps:g}, but it is set to {job.config.fps:g}. "
            "Leave it out, or import the keypoints again with --fps."
        )
    timeline = regular(0, store.shape("keypoints", "sigma")[0], fps)
    return Session(root, (), {}, timeline, timeline, fps, {})


@dataclass(frozen=True)
class _Work:
    """One session's stages, each as a plan for the engine."""

    config: Config
    session: Session
    store: Store
    rig: Store
    engine: Engine
    progress: Progress
    said: set[str] = field(default_factory=set)
    """Warnings about clips: one clip may be of the board and of the hands."""

    def run(self, stage: Stage, force: bool) -> list[str]:
        steps: Mapping[Stage, Callable[[bool], list[str]]] = {
            "calibrate": self._calibrate,
            "detect": self._detect,
            "triangulate": self._triangulate,
            "fit": self._fit,
        }
        return steps[stage](force)

    def _calibrate(self, force: bool) -> list[str]:
        config, session, done = self.config, self.session, []
        clips, hashes, reader = _readable(self.rig, session.board_clips.values())
        supplied = supplied_cameras(session, self.rig, hashes)
        if supplied is None:
            plan = partial(calibration_stage.board_plan, session, reader.views, config.board, hashes)
            done += ["board"] * self.engine.execute(self.rig, plan, force=force, reads=clips.values())
            self._warn_once(reader.missing(list(session.board_clips.values()), session.board_timeline)[0].values())
            done += self._lenses(force)
        else:
            self.progress.say(f"cameras: taken from {supplied}")
            for sentence in unlike_views(supplied, read_cameras(supplied).names, [*session.views, *session.left_out]):
                self.progress.say(f"warning: {sentence}")
        plan = calibration_stage.cameras_plan(
            session, reader, config.board, config.calibration, self.rig, supplied, config.capture.dead_views
        )
        reads = () if supplied is None else (supplied,)
        done += ["cameras"] * self.engine.execute(self.rig, lambda chunk_frames: plan, force=force, reads=reads)
        if supplied is None:
            publish(session, self.rig, hashes)
            self.engine.watch([session.root / "cameras.toml"])
        attrs = self.rig.attrs("cameras")
        for view in attrs["without_calibration"]:
            self.progress.say(f"warning: left out: {view}: {attrs.get('reasons', {}).get(view, 'no calibration')}")
        for warning in attrs.get("warnings", []):
            self.progress.say(f"warning: calibration: {warning}")
        return done

    def _lenses(self, force: bool) -> list[str]:
        """The board in the clips of `intrinsics/`, where there are any."""
        session = self.session
        if not session.lens_clips:
            return []
        group = calibration_stage.LENSES_GROUP
        clips, hashes, reader = _readable(self.rig, session.lens_clips.values())
        plan = partial(calibration_stage.board_plan, session, reader.views, self.config.board, hashes, name=group)
        done = [group] * self.engine.execute(self.rig, plan, force=force, reads=clips.values())
        self._warn_once(reader.missing(list(session.lens_clips.values()), session.lens_timeline)[0].values())
        return done

    def _detect(self, force: bool) -> list[str]:
        timeline = detect_stage.timeline_plan(self.session)
        if import2d.imported(self.rig) and not force:
            done = ["timeline"] * self.engine.execute(self.store, lambda _: timeline)
            if self.store != self.rig:
                plan = partial(import2d.copy_plan, self.session, self.rig)
                done += ["detections"] * self.engine.execute(self.store, plan)
            return done
        options = self.config.detection
        files, hashes, reader = _readable(self.store, self.session.clips)
        models = chosen_detectors(options).models()
        if options.model is not None:
            self.engine.watch(models.values())
        hashes |= content_hashes(self.store, models)
        done = ["timeline"] * self.engine.execute(self.store, lambda _: timeline)
        expected, first = self._expected(hashes, reader, force)
        done += first
        plan = partial(detect_stage.plan, self.session, options, hashes, views_of=reader.views, expected=expected)
        done += ["detections"] * self.engine.execute(self.store, plan, force=force, reads=files.values())
        damaged, unusable = reader.missing(self.session.clips, self.session.timeline)
        judge(self.session.root, unusable, len(self.session.views), self.config.capture)
        self._warn_once(damaged.values())
        return done

    def _expected(
        self, hashes: Mapping[str, str], reader: UntilDamage, force: bool
    ) -> tuple[Expected | None, list[str]]:
        """Where the hands are expected, and the groups that were computed for it; None to search every image."""
        options, session = self.config.detection, self.session
        can = options.regions == "space" and chosen_detectors(options).near_version is not None
        if not can or not self.rig.complete("cameras"):
            return None, []
        which = searched(session.fps, len(session.views), options.search_s, options.search_views)
        if which.step == 1:
            return None, []
        timeline = replace(session.timeline, source_frame=which.images(session.timeline.source_frame))
        look = replace(session, timeline=timeline)
        plans: Mapping[str, Callable[[int], Plan]] = {
            FIRST_LOOK: partial(detect_stage.plan, look, options, hashes, views_of=reader.views, name=FIRST_LOOK),
            "first_groups": partial(first_groups_plan, self.store, self.rig, which),
            "places": partial(places_plan, self.store, which),
        }
        done: list[str] = []
        for group, plan in plans.items():
            done += [group] * self.engine.execute(self.store, plan, force=force, reads=[c.path for c in session.clips])
        return Expected(self.store, self.rig), done

    def _warn_once(self, sentences: Iterable[str]) -> None:
        for sentence in sentences:
            if sentence not in self.said:
                self.progress.say(f"warning: {sentence}")
                self.said.add(sentence)

    def _triangulate(self, force: bool) -> list[str]:
        options = self.config.triangulation
        make = partial(clock_plan, self.store, self.rig, self.config.time_sync)
        done = ["clock"] * self.engine.execute(self.store, make, force=force)
        if detections_group(self.store) == "aligned":
            done += ["aligned"] * self.engine.execute(self.store, partial(aligned_plan, self.store), force=force)
        for group, plan in triangulation_stage.IDENTITY_PLANS.items():
            make = partial(plan, self.store, self.rig, options)
            done += [group] * self.engine.execute(self.store, make, force=force)
        again = self.config.second_look.enabled and not import2d.imported(self.rig)
        if again:
            look = self.config.second_look
            low = replace(self.config.detection, min_detection=look.min_detection, min_presence=look.min_presence)
            detect = CropDetector(low, look.crop_scale, look.crop_px)
            files, _, reader = _readable(self.store, self.session.clips)
            plan = partial(second_look.plan, version=detect.version)
            make = partial(plan, self.session, self.store, self.rig, reader.views, detect, look)
            # Results of versions that did not store where they look again are complete without it.
            if force or not self.engine.is_done(self.store, make):
                where = partial(second_look.looks_plan, self.store, self.rig, look)
                done += [second_look.LOOKS_GROUP] * self.engine.execute(self.store, where, force=force)
            done += [second_look.GROUP] * self.engine.execute(self.store, make, force=force, reads=files.values())
        make = partial(triangulation_stage.keypoints_plan, self.store, self.rig, options, second_look=again)
        done += ["keypoints"] * self.engine.execute(self.store, make, force=force)
        make = partial(quality_plan, self.store, self.rig, str(self.session.root))
        return done + ["quality"] * self.engine.execute(self.store, make, force=force)

    def conclude(self) -> None:
        """The verdict on all stages so far, in the group `quality`."""
        if not self.store.complete("quality"):
            return
        attributes = self.store.attrs("quality")
        checks = from_attributes({"checks": attributes["keypoint_checks"]})
        if self.store.complete("mano"):
            checks += fit_checks(self.store.read("mano", "valid"), self.store.read("mano", "residual"))
        concluded = as_attributes(checks)
        if any(attributes.get(name) != value for name, value in concluded.items()):
            self.store.set_attrs("quality", **concluded)

    def _fit(self, force: bool) -> list[str]:
        done = []
        for group, plan in fitting_stage.PLANS.items():
            make = partial(plan, self.store, self.rig, self.config.fitting, self.config.hand_model)
            done += [group] * self.engine.execute(self.store, make, force=force)
        return done
