"""Videos of policies at work, side by side, each labeled with its target and what it does."""

import os
import subprocess
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from hyperpolicy import files, rollout, seeds
from hyperpolicy.envs import Family, rendering
from hyperpolicy.envs.locomotion import AntDir
from hyperpolicy.errors import AlreadyExists, BadFile, BadSetting, MissingExtra
from hyperpolicy.policies import Policies
from hyperpolicy.run.progress import Steps

WINDOW_STEPS = 10
"""The speed shown is the mean over these last steps; a gait swings within a step."""
FRAMES_A_SECOND = 20
"""At least, unless the family's steps are longer."""
TARGET, ACTUAL = (255, 255, 255), (255, 176, 0)
"""Colors of the compass's needles."""
MARGIN = 8
"""Pixels between a panel's edge and its text."""


@dataclass(frozen=True)
class Film:
    """How much of an episode a video shows, and how large."""

    steps: int | None = None
    """Steps of the episode; all unless given."""
    every: int | None = None
    """One frame for so many steps; 20 frames a second unless given."""
    height: int = 240
    width: int = 320
    """Pixels of a panel."""
    seed: int = 0
    """Of the episode."""

    def span(self, family: Family) -> tuple[int, int]:
        """Steps that are shown, and steps from one frame to the next, in a family's episode."""
        usual = max(1, round(1 / (FRAMES_A_SECOND * family.dt_s)))
        steps = family.horizon_steps if self.steps is None else self.steps
        return min(steps, family.horizon_steps), usual if self.every is None else self.every


def record(
    policies: Policies | rollout.Actor,
    family: Family,
    contexts: Float[np.ndarray, "n c"],
    path: str | Path,
    titles: Sequence[str] = (),
    film: Film | None = None,
) -> Path:
    """The path of an mp4 of n policies side by side in real time; a software renderer takes about
    0.1 s a frame and panel. `titles` name the panels.

    Raises:
        NoRendering: no OpenGL back end works.
        AlreadyExists: something is at `path`.
        BadContext, BadShape: as `rollout.returns`.
        BadSetting: a number of frames or pixels that cannot work.
        BadFile: `path` does not end in .mp4.
        MissingExtra: what writes videos is not installed.
    """
    path, titles = Path(path), list(titles) or [""] * len(contexts)
    film = film or Film()
    steps, every = film.span(family)
    check(path, every)
    contexts = family.context.check(contexts)
    if len(titles) != len(contexts):
        raise BadSetting(f"{len(titles)} titles, {len(contexts)} policies; give one title a policy")
    if min(steps, film.height // 16, film.width // 16) < 1:
        raise BadSetting("a video needs at least one step, and 16 × 16 pixels or more")
    shots = []
    with Steps(f"recording {path.name}", steps) as progress:
        for shot in frames(policies, family, contexts, titles, film):
            shots.append(shot)
            progress.update(min(len(shots) * every, steps))
    rate = 1.0 / (family.dt_s * every)
    return files.write(path, lambda p: _encode(p, np.stack(shots), rate))


def check(path: Path, every: int | None = None) -> None:
    """Raise what `record` says of where it writes, and with what, before any work is done."""
    if path.suffix != ".mp4":
        raise BadFile(f"cannot write a video to {path}; give a name that ends in .mp4")
    if os.path.lexists(path):
        raise AlreadyExists(f"{path} exists; choose another name or remove it first")
    if every is not None and every < 1:
        raise BadSetting(f"every={every}; a video shows one frame every 1 or more steps")
    for module in ("imageio_ffmpeg", "PIL"):
        if find_spec(module) is None:
            raise MissingExtra(f"videos need {module}; pip install 'imageio[ffmpeg]' pillow")


def frames(
    policies: Policies | rollout.Actor,
    family: Family,
    contexts: Float[np.ndarray, "n c"],
    titles: Sequence[str],
    film: Film,
) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Pictures of all policies side by side, a frame after another of the film; an ended episode's
    stays."""
    (steps, every), size = film.span(family), (film.height, film.width)
    starts = np.repeat(seeds.episodes(film.seed, 1), len(contexts))
    worlds = family.worlds(contexts, starts, num_threads=1)
    panels = [np.zeros((*size, 3), np.uint8)] * len(contexts)
    outcomes: deque[np.ndarray] = deque(maxlen=WINDOW_STEPS)
    with closing(rendering.Pictures(*size, family.camera, family.camera_turned)) as pictures:
        for t, moment in enumerate(rollout.play(policies, worlds)):
            outcomes.append(moment.step.outcome)
            ended = moment.step.terminated | moment.step.truncated
            for i in np.flatnonzero(moment.alive & ~ended).tolist() if t % every == 0 else ():
                recent = np.mean([outcome[i] for outcome in outcomes], axis=0)
                target = f"target {family.task_name(contexts[i])}"
                lines = titles[i], target, f"actual {family.outcome_name(recent)}"
                own = worlds.picture(i)
                panels[i] = pictures.draw(*worlds.scene(i)) if own is None else _fit(own, size)
                panels[i] = _label(panels[i], lines)
                if isinstance(family, AntDir):
                    panels[i] = _compass(panels[i], contexts[i, 0], recent)
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
    even = "crop=trunc(iw/2)*2:trunc(ih/2)*2"  # H.264 wants even numbers of pixels
    h264 = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-vf", even, "-crf", "21"]
    command = [get_ffmpeg_exe(), "-v", "error", *raw, *h264, "-f", "mp4", "-y", str(path)]
    done = subprocess.run(command, input=shots.tobytes(), capture_output=True)
    if done.returncode:
        raise OSError(done.stderr.decode(errors="replace").strip())


def _fit(picture: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]):
    """The picture within a panel of this height and width, its sides in proportion."""
    from PIL import Image, ImageOps

    return np.asarray(ImageOps.pad(Image.fromarray(picture), (size[1], size[0])))


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


def _compass(
    picture: UInt8[np.ndarray, "h w 3"], angle: float, velocity: Float[np.ndarray, " 2"]
) -> UInt8[np.ndarray, "h w 3"]:
    """The picture with a compass in a lower corner, seen from above, x to the right: a white needle
    to the target direction, an orange one where the body goes, a full radius long at 2 m/s."""
    from PIL import Image, ImageDraw

    image = Image.fromarray(picture)
    draw, r = ImageDraw.Draw(image), picture.shape[0] // 8
    x, y = image.width - r - MARGIN, image.height - r - MARGIN
    draw.ellipse([x - r, y - r, x + r, y + r], fill=(16, 20, 28), outline=(128, 128, 128))
    speed = min(float(np.hypot(*velocity)) / 2.0, 1.0)
    heading = float(np.arctan2(velocity[1], velocity[0]))
    for direction, length, color in ((angle, 1.0, TARGET), (heading, speed, ACTUAL)):
        tip = x + r * length * np.cos(direction), y - r * length * np.sin(direction)
        draw.line([(x, y), tip], fill=color, width=max(2, r // 10))
    return np.asarray(image)
