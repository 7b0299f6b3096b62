"""The methods by name, at the sizes of the paper or small; at one size all have as many numbers to
train as `MT-SAC, told its task`, but for those that are marked."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import jax
import numpy as np

from hyperpolicy.errors import BadSetting, unknown
from hyperpolicy.nets.care import MixtureConfig, trained
from hyperpolicy.nets.encoders import EncoderConfig, FeedForwardConfig
from hyperpolicy.nets.modulated import ModulatedConfig
from hyperpolicy.nets.moore import MooreConfig
from hyperpolicy.nets.multi_head import MultiHeadConfig
from hyperpolicy.nets.paco import PacoConfig
from hyperpolicy.nets.ptsl import PtslConfig
from hyperpolicy.nets.soft_modules import SoftModulesConfig, SoftModulesOfMtrlConfig
from hyperpolicy.nets.trunks import PlainConfig
from hyperpolicy.rl.brc import BrcConfig
from hyperpolicy.rl.learner import Spaces
from hyperpolicy.rl.mtsac import MtSacConfig
from hyperpolicy.rl.ppo import PpoConfig

OBS, ACTION = 39, 4
"""Numbers of Meta-World's observations and actions."""


@dataclass(frozen=True)
class Scale:
    """Widths that are not a trunk's."""

    told: int
    """Numbers of an embedding, units of encoders."""
    rank: int
    """Of PTSL's branches."""
    plain: int
    """Units of a layer of the plain network that all others are made as large as; three layers."""
    critic: int
    """Units of a layer of BRC's critics, where it is not made as large."""


SMALL = Scale(told=16, rank=16, plain=128, critic=256)
PAPER = Scale(told=50, rank=50, plain=400, critic=1024)

Make = Callable[[Scale, int, tuple | None], Any]
"""(scale, units of a layer, table of sentences) → a learner's configuration."""


def _mtsac(encoder: EncoderConfig, trunk, **more) -> MtSacConfig:
    return MtSacConfig(encoder=encoder, trunk=trunk, **more)


def blind(scale: Scale, width: int, table) -> MtSacConfig:
    """MT-SAC as PTSL's study has it: only its temperatures know of tasks."""
    return _mtsac(EncoderConfig(), PlainConfig((width,) * 3))


def one_hot(scale: Scale, width: int, table, **more) -> MtSacConfig:
    """MT-SAC as Meta-World's authors have it: told a one-hot vector."""
    return _mtsac(EncoderConfig("one-hot"), PlainConfig((width,) * 3), **more)


def embedded(scale: Scale, width: int, table) -> MtSacConfig:
    """MT-SAC told a learned embedding."""
    return _mtsac(EncoderConfig("embedding", scale.told), PlainConfig((width,) * 3))


def modulated(scale: Scale, width: int, table) -> MtSacConfig:
    """An encoder whose features the task scales and shifts (FiLM)."""
    body = ModulatedConfig((scale.told,) * 3)
    return _mtsac(EncoderConfig("embedding", scale.told, body), PlainConfig((width,) * 3))


def soft_modules_mtrl(scale: Scale, width: int, table) -> MtSacConfig:
    """Soft Modularization as PTSL's study has it."""
    told = scale.told
    encoder = EncoderConfig("embedding", told, FeedForwardConfig((told,) * 3))
    return _mtsac(encoder, SoftModulesOfMtrlConfig(width, told=told))


def soft_modules(scale: Scale, width: int, table) -> MtSacConfig:
    """Soft Modularization as its authors have it, tasks' losses weighted."""
    trunk = SoftModulesConfig(width=width, embed=width, gate=width)
    return _mtsac(EncoderConfig(), trunk, balanced=True)


def sentences(scale: Scale, table, mode: str = "attention", experts: int = 4) -> EncoderConfig:
    """CARE's encoder."""
    body = MixtureConfig(mode, experts, scale.told)  # type: ignore[arg-type]
    return EncoderConfig("language", scale.told, body, table)


def care(scale: Scale, width: int, table) -> MtSacConfig:
    """CARE as PTSL's study has it."""
    return _mtsac(sentences(scale, table), PlainConfig((width,) * 3))


def care_paper(scale: Scale, width: int, table) -> MtSacConfig:
    """CARE as its paper has it: six encoders, weighted by what is seen."""
    return _mtsac(sentences(scale, table, "dot-product", 6), PlainConfig((width,) * 3))


def ptsl(scale: Scale, width: int, table, layers: int = 3, care: bool = True, **more):
    """Projected task-specific layers, behind CARE's encoder or none."""
    trunk = PtslConfig((width,) * layers, scale.rank, **more)
    return _mtsac(sentences(scale, table) if care else EncoderConfig(), trunk)


def heads(scale: Scale, width: int, table) -> MtSacConfig:
    """A head for each task."""
    return _mtsac(EncoderConfig(), MultiHeadConfig((width,) * 3))


def disjoint(scale: Scale, width: int, table) -> MtSacConfig:
    """A network for each task."""
    return _mtsac(EncoderConfig(), MultiHeadConfig((), (width,) * 3))


def paco(scale: Scale, width: int, table) -> MtSacConfig:
    """Parameters mixed from five sets."""
    return _mtsac(EncoderConfig(), PacoConfig((width,) * 3))


def moore(scale: Scale, width: int, table) -> MtSacConfig:
    """Orthogonal experts."""
    return _mtsac(EncoderConfig(), MooreConfig((width,) * 3))


def brc(scale: Scale, width: int, table) -> BrcConfig:
    """BRC, its actor half as wide as its critics."""
    return BrcConfig(width=max(1, width // 2), critic_width=width)


def ppo(scale: Scale, width: int, table) -> PpoConfig:
    """PPO told a one-hot vector, on policy."""
    return PpoConfig(hidden=(width,) * 3, value_hidden=(width,) * 3, epochs=10, minibatches=16)


METHODS: dict[str, Make] = {
    "MT-SAC": blind,
    "MT-SAC, told its task": one_hot,
    "MT-SAC, told an embedding": embedded,
    "Soft Modularization": soft_modules_mtrl,
    "CARE": care,
    "CARE + PTSL": ptsl,
    "CARE + PTSL, shallow": partial(ptsl, layers=2),
    "PTSL": partial(ptsl, care=False),
    "BRC": brc,
    "BRC, wide": brc,
    "Soft Modularization, authors'": soft_modules,
    "CARE, as in its paper": care_paper,
    "FiLM": modulated,
    "heads": heads,
    "disjoint": disjoint,
    "PaCo": paco,
    "MOORE": moore,
    "MT-PPO, told its task": ppo,
    "PCGrad": partial(one_hot, conflicts="pcgrad"),
    "GradNorm": partial(one_hot, conflicts="gradnorm"),
    "CARE + PTSL, own projections": partial(ptsl, layers=2, shared=False),
    "CARE + PTSL, own projections, safe": partial(ptsl, layers=2, shared=False, init="safe"),
    "CARE + PTSL, sum": partial(ptsl, residual="sum"),
    "CARE + PTSL, linear": partial(ptsl, residual="linear"),
    "CARE + PTSL, project": partial(ptsl, residual="project"),
    "CARE + PTSL, project, safe": partial(ptsl, residual="project", init="safe"),
    "CARE + PTSL, safe": partial(ptsl, init="safe"),
}
"""The one table of methods."""
STUDY = (
    "MT-SAC",
    "Soft Modularization",
    "CARE",
    "CARE + PTSL",
    "CARE + PTSL, shallow",
    "PTSL",
    "BRC",
    "MT-SAC, told its task",
)
"""The six of the study, BRC, and the plain network of equal size."""
UNLIKE = ("BRC, wide",)
"""Methods that are larger."""


def count(cfg, tasks: int) -> int:
    """Numbers that are trained for so many tasks: encoder, actor, both critics or the value."""
    told = tasks if cfg.learner.learns_from == "rounds" else 1  # a one-hot vector, or a number
    spaces = Spaces(OBS, told, ACTION)
    state = jax.eval_shape(lambda: cfg.learner.init(cfg, spaces, jax.random.key(0)))
    parts = ("encoder", "actor", "critics", "value")
    return trained([getattr(state, name) for name in parts if hasattr(state, name)])


@cache
def learner(name: str, scale: Scale, tasks: int, table: tuple | None):
    """The configuration of a method, without worlds and horizon. Raises BadSetting: no such
    method."""
    if name not in METHODS:
        raise unknown(BadSetting, "method", "Methods", name, METHODS)
    make = METHODS[name]

    def of(width: int):
        cfg = make(scale, width, table)
        return replace(cfg, tasks=tasks) if hasattr(cfg, "tasks") else cfg

    if name in UNLIKE:
        return of(scale.critic)
    wanted = count(replace(one_hot(scale, scale.plain, None), tasks=tasks), tasks)
    return of(widest(lambda width: count(of(width), tasks), wanted, scale.plain))


def widest(numbers: Callable[[int], int], most: int, near: int) -> int:
    """The largest width of a network that has at most so many numbers, which grow with its square;
    `near` is a width of about that size."""
    points = np.array([near // 2, near, 2 * near])
    a, b, c = np.polyfit(points, [numbers(int(x)) for x in points], 2)
    width = max(2, int((-b + np.sqrt(max(b * b - 4 * a * (c - most), 0.0))) / (2 * a)))
    while numbers(width) > most:
        width -= 1
    while numbers(width + 1) <= most:
        width += 1
    return width
