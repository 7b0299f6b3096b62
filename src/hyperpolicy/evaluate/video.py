"""Videos of policies at work, side by side, each labeled with its target and what it does."""

import subprocess
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from hyperpolicy import files, rollout, seeds
from hyperpolicy.envs import Family, rendering
from hyperpolicy.errors import AlreadyExists, BadFile, BadSetting
from hyperpolicy.nets.policy import Policies

WINDOW_STEPS = 10
"""The speed shown is the mean over these last steps; a gait swings within a step."""

CROP = "crop=trunc(iw/2)*2:trunc(ih/2)*2"
"""H.264 wants even numbers of pixels."""

MARGIN = 8
"""Pixels between a panel's edge and its text."""


def record(
    policies: Policies | rollout.Actor,
    family: Family,
    contexts: Float[np.ndarray, "n c"],
    path: str | Path,
    titles: Sequence[str] = (),
    steps: int | None = None,
    every: int = 4,
    height: int = 240,
    width: int = 320,
    seed: int = 0,
) -> Path:
    """Write an mp4 of n policies side by side in real time; its path.

    `steps` of one episode are shown (all by default), one frame every `every` steps; a software
    renderer takes about 0.1 s a frame and panel. `titles` name the panels.

    Raises:
        NoRendering: no OpenGL back end works.
        AlreadyExists: something is at `path`.
        BadContext, BadShape: as `rollout.returns`.
        BadSetting: a number of frames or pixels that cannot work.
        BadFile: `path` does not end in .mp4.
    """
    path, titles = Path(path), list(titles) or [""] * len(contexts)
    contexts = family.context.check(contexts)
    steps = family.horizon_steps if steps is None else min(steps, family.horizon_steps)
    _check(path, titles, contexts, (steps, every, height // 16, width // 16))
    shots = frames(policies, family, contexts, titles, steps, every, (height, width), seed)
    rate = 1.0 / (family.dt_s * every)
    return files.write(path, lambda p: _encode(p, np.stack(list(shots)), rate))


def _check(path: Path, titles: Sequence[str], contexts, counts: Sequence[int]) -> None:
    """Raise what `record` says, before any picture is drawn."""
    if path.suffix != ".mp4":
        raise BadFile(f"cannot write a video to {path}; give a name that ends in .mp4")
    if path.exists():
        raise AlreadyExists(f"{path} exists; choose another name or remove it first")
    if len(titles) != len(contexts):
        raise BadSetting(f"{len(titles)} titles, {len(contexts)} policies; give one title a policy")
    if min(counts) < 1:
        raise BadSetting("a video needs at least one step, every ≥ 1, and 16 × 16 pixels or more")


def frames(
    policies: Policies | rollout.Actor,
    family: Family,
    contexts: Float[np.ndarray, "n c"],
    titles: Sequence[str],
    steps: int,
    every: int,
    size: tuple[int, int],
    seed: int = 0,
) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Pictures of all policies side by side, one every `every` steps; an ended episode's stays."""
    starts = np.repeat(seeds.episodes(seed, 1), len(contexts))
    worlds = family.worlds(contexts, starts, num_threads=1)
    panels = [np.zeros((*size, 3), np.uint8)] * len(contexts)
    outcomes: deque[np.ndarray] = deque(maxlen=WINDOW_STEPS)
    with closing(rendering.Pictures(*size, family.camera, family.camera_turned)) as pictures:
        for t, moment in enumerate(rollout.play(policies, worlds)):
            outcomes.append(moment.step.outcome)
            ended = moment.step.terminated | moment.step.truncated
            for i in np.flatnonzero(moment.alive & ~ended).tolist() if t % every == 0 else ():
                picture = pictures.draw(*worlds.scene(i))
                recent = np.mean([outcome[i] for outcome in outcomes], axis=0)
                target = f"target {family.task_name(contexts[i])}"
                caption = target, f"actual {family.outcome_name(recent)}"
                panels[i] = _label(picture, [titles[i], *caption])
            if t % every == 0:
                yield np.concatenate(panels, axis=1)
            if t + 1 == steps:
                return


def _encode(path: Path, shots: UInt8[np.ndarray, "t h w 3"], rate: float) -> None:
    """Write H.264 that every browser plays.

    ffmpeg is called without imageio's writer, which forks: jax warns of that.
    """
    from imageio_ffmpeg import get_ffmpeg_exe

    _, h, w, _ = shots.shape
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{w}x{h}", "-r", f"{rate:g}", "-i", "-"]
    mp4 = [
        "-c:v",
        "libx264",
        "-pix_fmt",
        "yuv420p",
        "-vf",
        CROP,
        "-crf",
        "21",
        "-f",
        "mp4",
        "-y",
        str(path),
    ]
    command = [get_ffmpeg_exe(), "-v", "error", *raw, *mp4]
    done = subprocess.run(command, input=shots.tobytes(), capture_output=True)
    if done.returncode:
        raise OSError(done.stderr.decode(errors="replace").strip())


def _label(picture: UInt8[np.ndarray, "h w 3"], lines: Sequence[str]) -> UInt8[np.ndarray, "h w 3"]:
    """The picture with a dark band at its top that holds the lines."""
    from PIL import Image, ImageDraw, ImageFont

    lines = [line for line in lines if line]
    image = Image.fromarray(picture)
    size = max(10, picture.shape[0] // 17)
    font, pitch = ImageFont.load_default(size), int(1.35 * size)
    band = Image.new("RGBA", (image.width, pitch * len(lines) + MARGIN), (16, 20, 28, 165))
    image.paste(band, (0, 0), band)
    draw = ImageDraw.Draw(image)
    for i, line in enumerate(lines):
        draw.text((MARGIN, MARGIN // 2 + i * pitch), line, font=font, fill=(255, 255, 255))
    return np.asarray(image)
