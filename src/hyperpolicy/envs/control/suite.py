"""Families of DeepMind's control suite: its models, with bodies and rewards that a context varies.

The XML comes from the installed dm_control package, which is read, never imported. A context's
model is compiled from the edited XML, without textures; masses, motors and friction are scaled in
the compiled model, so that all coordinates of a family take one route.
"""

import xml.etree.ElementTree as etree
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import mujoco
import numpy as np
from jaxtyping import Float

from hyperpolicy.envs.context import Coordinate, Numbers
from hyperpolicy.envs.control.reward import Component
from hyperpolicy.envs.family import Steps
from hyperpolicy.envs.mujoco import MujocoFamily, compile_model
from hyperpolicy.errors import BadContext, BadFile, BadSetting, MissingExtra

MASS = Coordinate("mass", "×", 0.2, 3.0, "dynamics", default=1.0)
GEAR = Coordinate("gear", "×", 0.2, 3.0, "dynamics", default=1.0)
FRICTION = Coordinate("friction", "×", 0.1, 3.0, "dynamics", default=1.0)
"""Factors on every body's mass and inertia, every motor's gear, every geom's sliding friction."""
FACTORS = (MASS, GEAR)
TOUCHING = (MASS, GEAR, FRICTION)
"""Of bodies that touch something."""


def speed(most: float, least: float, default: float) -> Coordinate:
    """A signed target speed in m/s."""
    return Coordinate("speed", "m/s", -most, most, default=default, least=least)


def length(low: float, high: float, default: float) -> Coordinate:
    """A part's length in meters."""
    return Coordinate("length", "m", low, high, "dynamics", default=default)


def margin(name: str, unit: str, default: float) -> Coordinate:
    """How far from its bounds a part of the reward still pays."""
    return Coordinate(name, unit, default / 20, default * 5, default=default)


def sign_of(motor: str) -> Coordinate:
    """Whether a motor is wired the other way round: 1 or −1."""
    return Coordinate(f"sign of {motor}", "", -1.0, 1.0, "dynamics", default=1.0, least=1.0)


@dataclass(frozen=True, kw_only=True)
class ControlFamily(MujocoFamily):
    """A task of the control suite. Episodes have 1,000 steps and end by the time limit alone."""

    domain: ClassVar[str]
    """As the suite calls it, and its XML file."""
    observations: ClassVar[dict[str, int]]
    """The parts of an observation, in order, and how many numbers each has."""
    stage: ClassVar[int] = mujoco.mjtStage.mjSTAGE_VEL.value

    components: tuple[Component, ...]
    """The parts of the reward that have a shape."""
    exact: bool = False
    """Whether a target speed is the best one, instead of the least that earns everything."""
    published_body: bool = False
    """Whether only what the Contextual Control Suite moves is moved, so that other lengths than the
    default one leave sites and attachments behind."""
    horizon_steps: Steps = 1000

    # --- The body -------------------------------------------------------------------------
    @property
    def mjcf(self) -> str:
        return self.xml(self.context.usual, plain=True)

    def xml(self, context: Float[np.ndarray, " c"], plain: bool) -> str:
        """The XML of a context's body; a `plain` one has no textures. Raises MissingExtra:
        dm_control is not installed."""
        root = source(self.domain)
        self.build(root, dict(zip(self.context.names, context.tolist(), strict=True)))
        if plain:
            strip(root)
        return etree.tostring(root, encoding="unicode")

    def build(self, root: etree.Element, body: dict[str, float]) -> None:
        """Give the XML the lengths of a context, by the names of its coordinates."""

    def model(self, context):
        return self._compiled(context, plain=True)

    def scenery(self, context, drawn):
        return self._compiled(context, plain=False)

    def _compiled(self, context: Float[np.ndarray, " c"], plain: bool) -> mujoco.MjModel:
        known = dict(zip(self.context.names, context.tolist(), strict=True))
        signs = tuple(self.signs(context[None])[0].tolist())
        own = {(x.name, x.unit) for x in self.context.coordinates}  # a cartpole's mass is in kg
        factors = tuple(x.name for x in TOUCHING if (x.name, x.unit) in own)
        scales = tuple(known[name] for name in factors)
        try:
            return _scaled(self.xml(context, plain), factors, scales, signs)
        except BadFile as error:
            where = ", ".join(f"{name} = {x:g}" for name, x in known.items())
            raise BadContext(f"MuJoCo cannot build {self.name} at {where}: {error}") from None

    def task_name(self, context):
        """The first coordinate, and those that are not as usual: '-4 m/s, 0.35 m, mass × 3'."""
        usual = self.context.usual
        shown = [i for i, x in enumerate(context) if i == 0 or x != usual[i]]
        return ", ".join(_shown(context[i], self.context.coordinates[i]) for i in shown)

    def signs(self, contexts: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n a"]:
        """How each motor is wired in each context, 1 or −1: by a coordinate `sign of <motor>` each,
        or one `sign` for all."""
        columns = [i for i, x in enumerate(self.context.names) if x.split(" of ")[0] == "sign"]
        shape = len(contexts), self.action_size
        return np.broadcast_to(contexts[:, columns] if columns else 1.0, shape)

    # --- The reward -----------------------------------------------------------------------
    @abstractmethod
    def reward(self, action: Numbers, outcome: Numbers, context: Numbers, xp: Any = np) -> Numbers:
        """Reward [b] of actions [b,a] with outcomes [b,m] under any contexts [b,c]."""

    def part(self, name: str, x: Numbers, context: Numbers, xp: Any) -> Numbers:
        """The value at `x` of the reward's component called `name`."""
        one = next(part for part in self.components if part.name == name)
        if one.coordinate not in self.context.names:
            return one(x, one.margin, self.exact, xp)
        return one(x, context[..., self.context.names.index(one.coordinate)], self.exact, xp)


def _shown(x: float, of: Coordinate) -> str:
    """A number with its unit; a factor or a sign with its name."""
    if of.unit in ("", "×"):
        return f"{of.name} {of.unit} {x:.4g}".replace("  ", " ")
    return f"{x:.4g} {of.unit}"


# --- Models -------------------------------------------------------------------------------
def folder() -> Path:
    """Where the installed dm_control keeps the suite's models. Raises MissingExtra."""
    spec = find_spec("dm_control")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra(
            "the control suite's models come with dm_control: pip install 'hyperpolicy[control]', "
            "on Python 3.11 or 3.12"
        )
    return Path(spec.submodule_search_locations[0]) / "suite"


def source(domain: str) -> etree.Element:
    """The XML of a domain, with what it includes in its place. Raises MissingExtra."""
    return etree.fromstring(_read(domain))


@lru_cache(maxsize=32)
def _read(domain: str) -> str:
    path = folder() / f"{domain}.xml"
    root = etree.parse(path).getroot()
    for place, one in enumerate(list(root)):
        if one.tag == "include":
            root.remove(one)
            for part in reversed(list(etree.parse(path.parent / one.attrib["file"]).getroot())):
                root.insert(place, part)
    return etree.tostring(root, encoding="unicode")


def strip(root: etree.Element) -> None:
    """Remove textures and materials, which cost 60 ms and 12 MB a model and change no physics."""
    for asset in root.iter("asset"):
        for one in [x for x in asset if x.tag in ("texture", "material")]:
            asset.remove(one)
    for one in root.iter():
        one.attrib.pop("material", None)


def find(root: etree.Element, tag: str, name: str) -> etree.Element:
    """The element with this tag and name."""
    return next(one for one in root.iter(tag) if one.get("name") == name)


def place(one: etree.Element, **numbers: Sequence[float | int]) -> None:
    """Set attributes to numbers: place(geom, pos=(0, 0, 1))."""
    for name, values in numbers.items():
        one.set(name, " ".join(repr(float(x)) for x in values))


@lru_cache(maxsize=1024)
def _scaled(xml: str, factors, scales, signs) -> mujoco.MjModel:
    """The model of XML text, with masses, gears and friction multiplied and motors reversed."""
    model = compile_model(xml)
    times = dict(zip(factors, scales, strict=True))
    if all(x == 1.0 for x in (*scales, *signs)):
        return model
    model = copy(model)
    model.body_mass *= times.get("mass", 1.0)
    model.body_inertia *= times.get("mass", 1.0)
    model.actuator_gear *= times.get("gear", 1.0)
    model.geom_friction[:, 0] *= times.get("friction", 1.0)
    model.actuator_gear *= np.array(signs)[:, None]
    mujoco.mj_setConst(model, mujoco.MjData(model))
    return model


# --- Starts -------------------------------------------------------------------------------
def random_joints(rng: np.random.Generator, model: mujoco.MjModel) -> Float[np.ndarray, " q"]:
    """Positions whose limited joints are uniform in their range and whose other hinges have any
    angle, as the suite draws them."""
    qpos = model.qpos0.copy()
    for joint in range(model.njnt):
        low, high = model.jnt_range[joint]
        if not model.jnt_limited[joint]:
            if model.jnt_type[joint] != mujoco.mjtJoint.mjJNT_HINGE:
                continue
            low, high = -np.pi, np.pi
        qpos[model.jnt_qposadr[joint]] = rng.uniform(low, high)
    return qpos


def without_contact(
    model: mujoco.MjModel, data: mujoco.MjData, tries: Iterable[Float[np.ndarray, " q"]]
) -> Float[np.ndarray, " q"]:
    """The first positions among `tries` in which nothing touches. Raises BadSetting: there are
    none."""
    for qpos in tries:
        data.qpos[:] = qpos
        mujoco.mj_fwdPosition(model, data)
        if data.ncon == 0:
            return data.qpos.copy()
    raise BadSetting("no start without contact was found; give another body")


def random_quaternion(rng: np.random.Generator) -> Float[np.ndarray, "4"]:
    """Any orientation."""
    drawn = rng.standard_normal(4)
    return drawn / np.linalg.norm(drawn)
