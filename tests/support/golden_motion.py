"""Golden outputs of what is drawn and what is learnt: synthetic sessions, augmentation, training, sampling."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from golden import EXACT, Golden, Tolerance
from golden_recording import METRES, arrays
from hand_scenes import waving
from numpy import ndarray
from stored_motions import write_mano
from toy_stage import Quiet

from handpipe.capture.video import probe, read_frames
from handpipe.core.engine import Engine
from handpipe.core.hands import HANDS
from handpipe.core.settings import EngineSettings
from handpipe.core.storage.store import Store
from handpipe.generation import checkpoint as checkpoints
from handpipe.generation.model.denoisers import PRESETS, make_denoiser
from handpipe.generation.model.representations import REPRESENTATIONS
from handpipe.generation.sampling.run import Request
from handpipe.generation.sampling.run import generate as sample
from handpipe.generation.settings import LossWeights, SamplingSettings, TrainingSettings
from handpipe.generation.training.motion_sources import read_sources
from handpipe.generation.training.run import train
from handpipe.hand.model import HandModel
from handpipe.rendering.augment import augment as render
from handpipe.rendering.augment import picture_path
from handpipe.rendering.settings import AugmentSettings, SynthesisSettings
from handpipe.rendering.synthesize import synthesize as film

# ---- rendering ---------------------------------------------------------------------------------------------------


def synthesize(work: Path) -> dict[str, ndarray]:
    """A frame of the hands and one of the board, as they are read back from the clips."""
    options = SynthesisSettings(views=2, frames=1, board_frames=1, width=64, height=64, fps=5.0)
    with Engine(EngineSettings(workers=0), Quiet()) as engine:
        film(work, options, engine)
    truth = Store(str(work / "truth.zarr"))
    found = arrays(truth, "cameras", "K", "T_cam_world")
    found |= arrays(truth, "mano", "betas", "hand_pose", "transl", "joints")
    for kind in ("videos", "calibration"):
        (found[kind],) = read_frames(probe(sorted((work / kind).glob("*.mp4"))[0]), [0])
    return found


def augment(work: Path) -> dict[str, ndarray]:
    """One picture with all that can be in it."""
    motion = Store(write_mano(work / "motion.zarr", waving(4)))
    options = AugmentSettings(sequences=1, frames=1, views=1, width=64, height=64, occluded=1.0, single_hand=0.0)
    with Engine(EngineSettings(workers=0), Quiet()) as engine:
        render(motion, work / "out", options, None, engine)
    labels = Store(str(work / "out" / "labels.zarr"))
    found = arrays(labels, "labels", "points", "visibility", "joints_cam", "box", "seen")
    found |= arrays(labels, "scenes", "sample", "start", "tone", "key_light", "things")
    for kind in ("images", "masks", "depth"):
        picture = cv2.imread(str(picture_path(work / "out", kind, 0, 0, 0)), cv2.IMREAD_UNCHANGED)
        assert picture is not None
        found[kind] = picture
    return found


# ---- generation --------------------------------------------------------------------------------------------------


def training(work: Path) -> dict[str, ndarray]:
    """Losses of the third step, spread of the weights, statistics; some of the procedural motion."""
    found = {"clip": read_sources(["procedural:1"], 10.0, None, 1 << 20)[0].take(np.array([0, 20, 40]))}
    for representation in ("global", "local"):
        settings = TrainingSettings(
            representation=representation,
            steps=3,
            batch=2,
            window=16,
            learning_rate=1e-3,
            ema_decay=0.5,
            device="cpu",
            precision="float32",
            log_every=1,
            loss=LossWeights(contact=10.0, shape=5.0),  # every term
        )
        folder = work / representation
        figures = train(["procedural:1"], settings, None, folder, Quiet())
        trained = checkpoints.load(folder)
        stats = trained.statistics
        spread = [
            float(weights.double().std()) for _, weights in sorted(trained.weights.items()) if weights.numel() > 1
        ]
        found |= {
            f"{representation}.loss": np.array([value for _, value in sorted(figures["loss"].items())]),
            f"{representation}.weights": np.array(spread),
            f"{representation}.mean": stats["mean"].numpy(),
            f"{representation}.std": stats["std"].numpy(),
            f"{representation}.correlation": stats["correlation"].numpy(),
            f"{representation}.R_home": stats["R_home"].numpy(),
        }
    return found


def _checkpoint(folder: Path, window: int) -> None:
    """A model of hands that tremble about the flat pose; its small network is drawn without PyTorch."""
    shape, rng = REPRESENTATIONS["global"], np.random.default_rng(0)
    network = make_denoiser("handdiffuse", PRESETS["small"]["handdiffuse"], shape.channels, len(shape.groups))
    weights = {
        name: torch.from_numpy(rng.normal(0, 0.03, tuple(value.shape)).astype(np.float32))
        for name, value in sorted(network.state_dict().items())
    }
    wrist, rest = np.zeros(3), np.array([1.0] + 48 * [0.0])
    joints = HandModel.procedural(HANDS[1]).joints(np.zeros(10), wrist, np.zeros(45), wrist)
    lags = np.arange(2 * window)
    statistics = {
        "mean": np.concatenate([wrist, rest, (joints - joints[0]).ravel()]),
        "std": np.concatenate([np.full(3, 0.05), np.full(49, 0.2), np.full(63, 0.05)]),
        "correlation": np.tile(np.exp(-((lags / 12) ** 2)), (4, 1)),
        "levels": np.tile([0.2, 1.4], (4, 1)),
        "transition": np.tile([[0.8, 0.2], [0.2, 0.8]], (4, 1, 1)),
        "R_home": np.eye(3),
        "betas": np.stack([0.3 * np.cos(np.arange(20.0)), np.zeros(20)]).reshape(2, 2, 10),
    }
    config = {
        "settings": {"preset": "small"},
        "hand_model": [HandModel.procedural(side).model_id for side in HANDS],
        "fps": 30.0,
        "window": window,
        "representation": "global",
        "denoiser": "handdiffuse",
    }
    tensors = {name: torch.tensor(value, dtype=torch.float32) for name, value in statistics.items()}
    checkpoints.save(folder, checkpoints.Checkpoint(config, weights, tensors), None)


def generate(work: Path) -> dict[str, ndarray]:
    """A motion longer than a window, through keyframes; and one along a path, without."""
    _checkpoint(work / "model", window=16)
    motion = waving(3)
    keys = {**motion, "frame": np.array([0, 9, 20])}
    np.savez(work / "keys.npz", **keys)  # pyright: ignore[reportArgumentType]
    path = "\n".join(f"{frame},left,{0.01 * frame},0.1,0.2" for frame in range(0, 16, 5))
    (work / "path.csv").write_text(f"frame,hand,x,y,z\n{path}\n")
    requests = {
        "keyframes": Request(count=1, seed=3, frames=24, keyframes=str(work / "keys.npz")),
        "path": Request(count=2, seed=4, trajectory=work / "path.csv"),
    }
    settings, found = SamplingSettings(steps=3, device="cpu", precision="float32"), {}
    for name, request in requests.items():
        out = work / f"{name}.zarr"
        sample(work / "model", out, request, settings, None, Quiet())
        made = arrays(Store(str(out)), "mano", "betas", "global_orient", "hand_pose", "transl", "joints", "valid")
        found |= {f"{name}.{key}": value[:, ::3] if value.ndim > 3 else value for key, value in made.items()}
    return found


PICTURE = Tolerance(4, share=0.02)
"""Grey levels. The video's and the JPEG's coders differ by a level or two from build to build, and the pixels on an
edge flip with the last bit of a vertex; another light, mesh or noise changes most of the picture by more."""

NETWORK = Tolerance(2e-4, 2e-3)
"""Single precision through a hundred layers' sums, in an order that the processor's vector width decides."""

GOLDENS = (
    Golden(
        "synthesize",
        "handpipe.rendering.synthesize",
        synthesize,
        {"videos": PICTURE, "calibration": PICTURE, "cameras.K": Tolerance(1e-4), "*": METRES},
    ),
    Golden(
        "augment",
        "handpipe.rendering.augment",
        augment,
        {
            "images": PICTURE,
            "masks": Tolerance(share=0.01),
            "depth": Tolerance(5, share=0.01),
            "labels.points": Tolerance(1e-3),
            "labels.visibility": Tolerance(share=0.05),
            "labels.box": Tolerance(1),
            "labels.seen": Tolerance(0.02),
            "*": METRES,
        },
    ),
    # Adam divides gradients by their size: where one is nearly zero, its last bits decide a weight's step. So losses
    # and the spread of the weights are compared, and not the weights.
    Golden(
        "training",
        "handpipe.generation.training.identity",
        training,
        {"clip": METRES, **{f"{name}.R_home": Tolerance(1e-4) for name in ("global", "local")}, "*": NETWORK},
    ),
    Golden(
        "generate",
        "handpipe.generation.sampling.run",
        generate,
        {"keyframes.mano.valid": EXACT, "path.mano.valid": EXACT, "*": NETWORK},
    ),
)
