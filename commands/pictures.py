"""`handpipe render` and `handpipe view`: fitted or generated motion as clips and pictures, and in a viewer."""

# Ring 2: reads and writes.

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from ..core.errors import ConfigError
from ..screen import Screen
from ..settings import Config, session_folder
from . import Configured


@dataclass(frozen=True)
class Render(Configured):
    """Render the hands of a session over its footage, or any motion on a turntable, as a clip or a picture.

    Generated motion has no footage: it is shown over a table, with its keyframes on the line of time.
    """

    common = ("hand_model",)
    sections = ("hand_model",)

    source: Annotated[Positional[str], arg(metavar="SESSION|GENERATED")]
    """A session folder, the name of a session in pipeline.yaml, or a store with motion."""
    out: Annotated[Positional[Path], arg(metavar="OUT")]
    """A clip (.mp4, .gif, .webp) or a picture of some moments (.png, .jpg), replaced if it exists."""
    views: Annotated[tuple[str, ...], arg(metavar="VIEW...", aliases=("--view",))] = ()
    """Views whose footage is shown; several make a grid. Default: the one that sees the hands best."""
    turntable: bool = False
    """Show the hands without footage, from all sides."""
    frames: Annotated[str, arg(metavar="A-B")] = ""
    """Frames to render, such as 0-120, or 0,20,40. Default: all."""
    sample: Annotated[int, arg(metavar="N")] = 0
    """Which of the generated motions."""
    size: Annotated[tuple[int, int] | None, arg(metavar="WIDTH HEIGHT")] = None
    """Of the clip, or of each picture of a sheet, pixels. Default: 1280 720 at most; 480 360."""
    fps: Annotated[float, arg(metavar="RATE")] = 30.0
    """Frames per second at most: of faster motion, every n-th frame is shown."""
    moments: Annotated[int, arg(metavar="N")] = 10
    """Moments in a picture, unless --frames names each."""
    azimuth: Annotated[float, arg(metavar="DEGREES")] = 0.0
    """Where a turntable starts: 0 is the person's own view."""
    elevation: Annotated[float, arg(metavar="DEGREES")] = 40.0
    """How far a turntable is seen from above."""
    turn: Annotated[float | None, arg(metavar="DEGREES")] = None
    """How far a turntable turns. Default: 360 in clips, 0 in pictures."""
    opacity: Annotated[float, arg(metavar="0..1")] = 0.85
    """Of the hands over footage."""
    crop: Literal["no", "hands", "left", "right"] = "no"
    """Cut the footage to where both hands are, or to one hand."""
    beside: bool = False
    """Show the footage without hands, too."""
    arms: bool = False
    """Draw forearms, straight on from the hands. They are not measured."""
    skin: bool = False
    """Give the hands the colour of skin instead of orange for left and blue for right."""
    store: str | None = None
    """Where a session's results are: a folder or an fsspec URL. Default: session.zarr in the session folder."""
    prune: Annotated[int | None, arg(metavar="N")] = None
    """Show the results of `--prune N`."""

    def config_sources(self) -> tuple[Path | None, str | None]:
        return self.config, self.source if self.source and "://" not in self.source else None

    def execute(self, config: Config, screen: Screen) -> dict[str, Any]:
        from ..reporting.render import Request, check_out, render
        from ..reporting.shown_motion import open_motion

        check_out(self.out)
        self._check()
        shown = open_motion(self.source, session_folder(config, self.source), self.store, self.prune)
        figures = render(
            shown,
            config.hand_model,
            Request(
                *(self.out, self.views, self.turntable, self.frames, self.sample, self.size, self.fps, self.moments),
                *(self.azimuth, self.elevation, self.turn, self.opacity),
                *(self.crop, self.beside, self.arms, self.skin),
            ),
        )
        for warning in figures["warnings"]:
            screen.say(f"warning: {warning}")
        seen = f" of {', '.join(figures['views'])}" if figures["views"] else ""
        screen.say(f"{self.out}: {figures['frames']} frames{seen}, {figures['megabytes']:.1f} MB")
        return figures

    def _check(self) -> None:
        """Raises ConfigError for flags that contradict each other, or that are out of range."""
        if self.turntable and self.views:
            raise ConfigError("--turntable: expected no --views, since it shows no footage. Leave one of them out.")
        for name, value, low, high in (
            ("size", min(self.size or (16,)), 16, 8192),
            ("size", max(self.size or (16,)), 16, 8192),
            ("fps", self.fps, 0.1, 1000),
            ("moments", self.moments, 1, 200),
            ("opacity", self.opacity, 0, 1),
            ("elevation", self.elevation, -89, 89),
        ):
            if not low <= value <= high:
                raise ConfigError(f"--{name}: expected {low} to {high}, but found {value:g}. Correct it.")


@dataclass(frozen=True)
class View(Configured):
    """Show a session or generated motion in the Rerun viewer: images, detections, keypoints, meshes, cameras.

    It needs the extra `view`: pip install 'handpipe[view]'.
    """

    common = ("hand_model",)
    sections = ("hand_model",)

    source: Annotated[Positional[str], arg(metavar="SESSION|GENERATED")]
    """A session folder, the name of a session in pipeline.yaml, or a store with motion."""
    save: Annotated[Path | None, arg(metavar="FILE.rrd")] = None
    """Write a file for the viewer instead of opening it: no display is needed."""
    views: Annotated[tuple[str, ...], arg(metavar="VIEW...")] = ()
    """Views with images. Default: up to six that see the hands often, from different sides."""
    frames: Annotated[str, arg(metavar="A-B")] = ""
    """Frames to show, such as 0-120, or 0,20,40. Default: all."""
    store: str | None = None
    """Where a session's results are: a folder or an fsspec URL. Default: session.zarr in the session folder."""
    prune: Annotated[int | None, arg(metavar="N")] = None
    """Show the results of `--prune N`."""

    def config_sources(self) -> tuple[Path | None, str | None]:
        return self.config, self.source if self.source and "://" not in self.source else None

    def execute(self, config: Config, screen: Screen) -> dict[str, Any]:
        from ..reporting.shown_motion import chosen_frames, open_motion
        from ..reporting.viewer import view

        if self.save is not None and (self.save.is_dir() or self.save.suffix != ".rrd"):
            raise ConfigError(f"--save {self.save}: expected a file that ends in .rrd. Correct the name.")
        shown = open_motion(self.source, session_folder(config, self.source), self.store, self.prune)
        number, _ = chosen_frames(self.frames, shown.frames)
        figures = view(shown, config.hand_model, number, self.views, self.save)
        for warning in figures["warnings"]:
            screen.say(f"warning: {warning}")
        if self.save is not None:
            screen.say(
                f"{self.save}: {figures['frames']} frames, {figures['megabytes']:.1f} MB. Open it: rerun {self.save}"
            )
        return figures
