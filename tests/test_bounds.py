"""Every setting has bounds: a number that is not finite or out of bounds is refused by name."""

import importlib
import inspect
import math
import pkgutil
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin

import numpy as np
import pytest
from msgspec import Meta

import hyperpolicy
from hyperpolicy import bounds
from hyperpolicy.bounds import Bounded, Count, OneOf, Rate, Rule, Seed, Share, Sizes
from hyperpolicy.cli.command import Command
from hyperpolicy.errors import BadSetting
from hyperpolicy.generate.codecs import PcaConfig
from hyperpolicy.generate.writers.hyplatent import HypLatentConfig
from hyperpolicy.rl.sac import SacConfig


def classes() -> list[type]:
    """Every dataclass of the package."""
    found = {}
    for module in pkgutil.walk_packages(hyperpolicy.__path__, "hyperpolicy."):
        for one in vars(importlib.import_module(module.name)).values():
            if isinstance(one, type) and is_dataclass(one) and one.__module__ == module.name:
                found[f"{module.name}.{one.__qualname__}"] = one
    return list(found.values())


pytestmark = pytest.mark.usefixtures("as_user")
CLASSES = classes()
CONFIGS = [one for one in CLASSES if issubclass(one, Bounded)]
SETTINGS = [one for one in CONFIGS if not issubclass(one, Command)]


def numbers_of(kind) -> list[tuple[type, Meta, list]]:
    """Plain types, bounds and the way to put a number into a value, for each number in a type."""
    plain, marks = (
        (kind, ())
        if get_origin(kind) is not Annotated
        else (
            kind.__origin__,
            kind.__metadata__,
        )
    )
    if plain in (int, float):
        limits = [mark for mark in marks if isinstance(mark, Meta)]
        return [(plain, limits[0] if limits else None, [])]
    found = []
    if get_origin(plain) is tuple:
        parts = [part for part in get_args(plain) if part is not ...]
        for i, part in enumerate(parts):
            found += [(p, m, [(i, len(parts)), *way]) for p, m, way in numbers_of(part)]
    elif get_args(plain) and get_origin(plain) is not Literal:
        for part in get_args(plain):
            found += numbers_of(part)
    return found


def outside(plain: type, limits: Meta) -> list:
    """Numbers that are refused: not finite, of another type, and just outside each bound."""
    wrong = [math.nan, math.inf, -math.inf, "1", True, None]
    if plain is int:
        wrong += [1.5]
    step = 1 if plain is int else 1e-6
    for end, way in ((limits.ge, -step), (limits.gt, 0), (limits.le, step), (limits.lt, 0)):
        if end is not None:
            wrong.append(end + way * max(1, abs(end)))
    return wrong


CASES = [
    pytest.param(one, name, plain, limits, way, id=f"{one.__name__}.{name}")
    for one in SETTINGS
    if not inspect.isabstract(one)
    for name, kind in bounds.kinds(one).items()
    for plain, limits, way in numbers_of(kind)
]


@pytest.mark.parametrize(("config", "name", "plain", "limits", "way"), CASES)
def test_every_number_of_every_configuration_has_bounds(config, name, plain, limits, way):
    assert limits is not None, f"{config.__name__}.{name} is any {plain.__name__}"
    if plain is int:
        assert limits.ge is not None, f"{name} may be negative"
    kind = bounds.kinds(config)[name]
    for value in outside(plain, limits):
        for i, size in reversed(way):
            value = tuple(value if j == i else 1 for j in range(size))
        if value is None and bounds.fits(None, kind):
            continue  # None is a choice
        assert not bounds.fits(value, kind), value
        if not any(bounds.required(one) for one in fields(config) if one.name != name):
            with pytest.raises(BadSetting, match=f"^{name}=.*--{name.replace('_', '-')}"):
                config(**{name: value})


def test_every_configuration_is_bounded():
    """By name: whatever is called a configuration, a schedule or a preset; and every command."""
    ends = ("Config", "Schedule", "Preset", "Settings")
    loose = [one for one in CLASSES if one.__name__.endswith(ends) and one not in CONFIGS]
    assert not loose
    assert len(SETTINGS) > 20
    assert len(CASES) > 120


@pytest.mark.parametrize("config", SETTINGS, ids=lambda one: one.__name__)
def test_defaults_are_within_bounds(config):
    if any(bounds.required(one) for one in fields(config)) or inspect.isabstract(config):
        pytest.skip("has no defaults")
    config()


def test_presets_are_within_bounds():
    count = 0
    for module in pkgutil.walk_packages(hyperpolicy.__path__, "hyperpolicy."):
        for one in vars(importlib.import_module(module.name)).values():
            for value in one.values() if isinstance(one, dict) else [one]:
                if isinstance(value, Bounded):
                    value.__post_init__()
                    count += 1
    assert count > 15


# --- The checker --------------------------------------------------------------------------
@dataclass(frozen=True)
class Inner(Bounded):
    steps: Count = 1


@dataclass(frozen=True)
class Sample(Bounded):
    steps: Count = 10
    rate: Rate = 1e-3
    share: Share = 0.5
    sizes: Sizes = (4, 4)
    pair: tuple[Share, Share] = (0.0, 1.0)
    degree: Count | None = None
    way: Literal["own", "shared"] = "own"
    name: Annotated[str, OneOf(["gelu", "relu"])] = "relu"
    names: tuple[Annotated[str, OneOf(["gelu", "relu"])], ...] = ()
    seed: Seed = 0
    even: Annotated[int, Meta(ge=0), Rule("even", lambda n: n % 2 == 0)] = 0
    path: Path = Path("x")
    flag: bool = True
    inner: Inner = field(default_factory=Inner)
    either: PcaConfig | Inner = field(default_factory=Inner)


GOOD = [
    {"steps": np.int64(3)},
    {"rate": np.float32(0.1)},
    {"rate": 1},
    {"sizes": (1,)},
    {"degree": 3},
    {"names": ("gelu", "gelu")},
    {"seed": 10**40},
    {"either": PcaConfig()},
]
BAD = [
    ({"steps": 0}, "steps=0 (--steps); give a whole number, at least 1"),
    ({"steps": 2**31}, "the largest is 2,147,483,647"),
    ({"steps": 2.0}, "steps=2.0 (--steps); give a whole number"),
    ({"rate": math.nan}, "rate=nan (--rate); give a finite number, above 0"),
    ({"rate": 10**400}, "give a finite number, above 0"),
    ({"rate": np.float32("inf")}, "give a finite number, above 0"),
    ({"share": 1.5}, "give a finite number, at least 0 and at most 1"),
    ({"sizes": ()}, "sizes=() (--sizes); give one or more values, each a whole number"),
    ({"sizes": (0, 4)}, "sizes=(0, 4)"),
    ({"sizes": [4]}, "sizes=[4]"),
    ({"pair": (0.0,)}, "give 2 values: a finite number"),
    ({"degree": 0}, "at least 1 or nothing"),
    ({"way": "shred"}, "give one of 'own', 'shared'. Did you mean 'shared'?"),
    ({"name": "rely"}, "give one of 'gelu', 'relu'. Did you mean 'relu'?"),
    ({"names": ("relu", "gleu")}, "Did you mean 'gelu'?"),
    ({"seed": -1}, "seed=-1 (--seed); give a whole number, at least 0"),
    ({"even": 3}, "even"),
    ({"path": "x"}, "path='x'"),
    ({"path": Path("x" * 300)}, "give a path that the system accepts"),
    ({"path": Path("x\0")}, "give a path that the system accepts"),
    ({"flag": 1}, "give true or false"),
    ({"inner": None}, "give Inner()"),
    ({"either": 3}, "give PcaConfig() or Inner()"),
]


@pytest.mark.parametrize("given", GOOD, ids=str)
def test_what_fits_is_taken(given):
    assert replace(Sample(), **given) == Sample(**given)


@pytest.mark.parametrize(("given", "says"), BAD, ids=[str(i) for i in range(len(BAD))])
def test_what_does_not_fit_is_refused_by_name(given, says):
    with pytest.raises(BadSetting) as found:
        Sample(**given)
    (name,) = given
    assert str(found.value).startswith(f"{name}=")
    assert says in str(found.value)
    assert len(str(found.value)) < 400
    with pytest.raises(BadSetting):
        replace(Sample(), **given)


def test_settings_without_effect_are_refused():
    bounds.unused(Sample(way="shared"), ["steps", "inner"], "here")
    with pytest.raises(BadSetting, match="steps=11 has no effect here; leave out --steps"):
        bounds.unused(Sample(steps=11), ["steps"], "here")
    with pytest.raises(BadSetting, match="inner="):
        bounds.unused(Sample(inner=Inner(2)), ["inner"], "here")


def test_subclasses_check_inherited_fields():
    with pytest.raises(BadSetting, match="batch=0"):
        HypLatentConfig(batch=0)
    with pytest.raises(BadSetting, match="Did you mean 'relu'"):
        SacConfig(activations=("relu", "rely"))
