"""What a setting may be: bounds are part of a field's type, and one function checks them.

A configuration is a frozen dataclass that inherits from `Bounded`:

    @dataclass(frozen=True)
    class FitConfig(Bounded):
        steps: Count = 1_000
        rate: Rate = 1e-3
        hidden: Sizes = (64, 64)

Every number is finite. Whatever does not fit is a BadSetting that names the field, what it is and
what is possible. Numbers' bounds are `msgspec.Meta`, so that files are read within the same bounds.
"""

import math
import numbers
import os
import types
from collections.abc import Callable, Collection, Iterable
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from reprlib import Repr
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from msgspec import Meta

from hyperpolicy.errors import BadSetting, closest

MOST = 2**31 - 1
"""The largest count: what 32 bits hold."""
LARGEST = 3e38
"""The largest number of single precision, roughly."""

Count = Annotated[int, Meta(ge=1, le=MOST)]
Whole = Annotated[int, Meta(ge=0, le=MOST)]
Size = Annotated[int, Meta(ge=1, le=2**16)]
"""Units of a layer, numbers of a latent."""
Sizes = Annotated[tuple[Size, ...], Meta(min_length=1)]
Counts = Annotated[tuple[Count, ...], Meta(min_length=1)]
Seed = Annotated[int, Meta(ge=0)]
Number = Annotated[float, Meta()]
Positive = Annotated[float, Meta(gt=0.0)]
Rate = Annotated[float, Meta(gt=0.0)]
"""Step size of an optimizer."""
Weight = Annotated[float, Meta(ge=0.0)]
"""Of a part of a loss; 0 leaves it out."""
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Decay = Annotated[float, Meta(gt=0.0, le=1.0)]
"""A factor, or a share of what is new, at every update."""
PartialShare = Annotated[float, Meta(ge=0.0, lt=1.0)]
"""A share that leaves something over: dropout, discounts, decay rates of averages."""


@dataclass(frozen=True, eq=False)
class OneOf:
    """Text that is one of some names."""

    names: Collection[str]


@dataclass(frozen=True, eq=False)
class Rule:
    """What else a value is held to: `holds` says whether it is, `text` what is."""

    text: str
    holds: Callable[[Any], bool]


ONCE = Rule("and none twice", lambda x: len(set(x)) == len(x))
Names = Annotated[tuple[str, ...], Meta(min_length=1), ONCE]
Seeds = Annotated[tuple[Seed, ...], Meta(min_length=1), ONCE]


def _writable(path: Path) -> bool:
    """Whether something could be written at `path`, as far as its nearest directory says."""
    for parent in path.absolute().parents:
        if os.path.lexists(parent):
            return os.path.isdir(parent) and os.access(parent, os.W_OK | os.X_OK)
    return False


WRITABLE = Rule("in a directory that can be written to", _writable)
NewPlace = Annotated[Path, WRITABLE]
"""A directory that is made."""
Place = Annotated[
    Path,
    Rule(
        "the name of a directory, not of a file or a link to nowhere",
        lambda path: os.path.isdir(path) or not os.path.lexists(path),
    ),
    WRITABLE,
]
"""A directory that is made, or goes on."""


class Bounded:
    """A dataclass whose fields are checked against their annotated types when it is made.

    Raises:
        BadSetting: the first field whose value is of another type, not finite or out of bounds.
    """

    def __post_init__(self):
        for name, kind in kinds(type(self)).items():
            value = getattr(self, name)
            if not fits(value, kind):
                raise BadSetting(
                    f"{name}={_short(value)} (--{name.replace('_', '-')}); give {wanted(kind)}"
                    + _hint(value, kind)
                )


@cache
def kinds(config: type) -> dict[str, Any]:
    """field → its type with bounds, of a dataclass."""
    hints = get_type_hints(config, include_extras=True)
    return {one.name: hints[one.name] for one in fields(config) if one.init}


def unused(config, names: Iterable[str], why: str) -> None:
    """Raise BadSetting where a field among `names`, which have no effect, is not at its default."""
    for one in fields(config):
        if one.name not in names or required(one):
            continue
        value = getattr(config, one.name)
        made = one.default_factory
        default = one.default if made is MISSING else made()
        if value != default:
            option = f"--{one.name.replace('_', '-')}"
            raise BadSetting(f"{one.name}={_short(value)} has no effect {why}; leave out {option}")


def required(one: Field) -> bool:
    """Whether a field has no default."""
    return one.default is MISSING and one.default_factory is MISSING


def as_record(config: Any) -> dict:
    """A configuration as nested dictionaries; a part that could be of several kinds names its
    own."""
    found: dict[str, Any] = {}
    owner: Any = type(config)
    for name, kind in kinds(owner).items():
        value = found[name] = getattr(config, name)
        if is_dataclass(value):
            parts = [part for part in get_args(_split(kind)[0]) if is_dataclass(part)]
            own = {"kind": type(value).__name__} if len(parts) > 1 else {}
            found[name] = own | as_record(value)
    return found


# --- Does it fit? -------------------------------------------------------------------------
def fits(value, kind) -> bool:
    """Whether `value` is of the type `kind` and within its bounds."""
    plain, marks = _split(kind)
    return _is(value, plain) and all(_within(value, mark) for mark in marks)


def _is(value, kind) -> bool:
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return any(fits(value, part) for part in parts)
    if origin is Literal:
        return any(value == part and type(value) is type(part) for part in parts)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if parts[1:] == (...,):
            return all(fits(one, parts[0]) for one in value)
        return len(value) == len(parts) and all(map(fits, value, parts))
    if kind in (int, float):
        number: Any = numbers.Integral if kind is int else numbers.Real
        if not isinstance(value, number) or isinstance(value, bool):
            return False
        # finite in single precision too; whole numbers may be of any length
        return kind is int or (abs(value) <= LARGEST and math.isfinite(value))
    if kind in (None, Any):
        return kind is Any or value is None
    if kind is Path:
        return isinstance(value, Path) and _possible(value)
    return isinstance(value, origin or kind)


def _possible(path: Path) -> bool:
    """Whether the system accepts the name, be there something or not."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return True
    except (OSError, ValueError):  # too long, a loop of links, a null character
        return False
    return True


def _within(value, mark) -> bool:
    if isinstance(mark, OneOf):
        return value in mark.names
    if isinstance(mark, Rule):
        return mark.holds(value)
    if not isinstance(mark, Meta):
        return True
    return (
        (mark.ge is None or value >= mark.ge)
        and (mark.gt is None or value > mark.gt)
        and (mark.le is None or value <= mark.le)
        and (mark.lt is None or value < mark.lt)
        and (mark.min_length is None or len(value) >= mark.min_length)
    )


def _split(kind) -> tuple[Any, tuple]:
    return (kind.__origin__, kind.__metadata__) if get_origin(kind) is Annotated else (kind, ())


# --- What would? --------------------------------------------------------------------------
def wanted(kind) -> str:
    """What a value of the type `kind` may be, in words."""
    plain, marks = _split(kind)
    parts = get_args(plain)
    if get_origin(plain) is tuple and parts[1:] == (...,):
        least = any(isinstance(mark, Meta) and mark.min_length for mark in marks)
        many = f"{'one or more' if least else 'any number of'} values, each {wanted(parts[0])}"
        return ", ".join([many, *(mark.text for mark in marks if isinstance(mark, Rule))])
    if get_origin(plain) is tuple:
        return f"{len(parts)} values: {'; '.join(map(wanted, parts))}"
    if names := _names(kind):
        also = " or nothing" if type(None) in parts else ""
        return f"one of {', '.join(map(repr, names))}{also}"
    return ", ".join(filter(None, [_plain(plain), *map(_limits, marks)]))


def _plain(kind) -> str:
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(wanted(part) for part in get_args(kind))
    if is_dataclass(kind):
        return f"{getattr(kind, '__name__', kind)}()"
    return WORDS.get(kind, str(kind))


WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a finite number",
    bool: "true or false",
    str: "text",
    Path: "a path that the system accepts",
    type(None): "nothing",
}


def _limits(mark) -> str:
    if isinstance(mark, Rule):
        return mark.text
    if not isinstance(mark, Meta):
        return ""
    ends = {"above": mark.gt, "at least": mark.ge, "below": mark.lt, "at most": mark.le}
    return " and ".join(
        f"{word} {end:,}" if isinstance(end, int) else f"{word} {end:g}"
        for word, end in ends.items()
        if end not in (None, MOST)
    )


def _names(kind) -> list[str]:
    """The names a type knows, in itself or in its parts."""
    plain, marks = _split(kind)
    if get_origin(plain) is Literal:
        return list(map(str, get_args(plain)))
    found = [name for mark in marks if isinstance(mark, OneOf) for name in sorted(mark.names)]
    return found + [name for part in get_args(plain) for name in _names(part)]


def _hint(value, kind) -> str:
    """The largest number where one is larger; a name that is close to what was given."""
    if isinstance(value, int) and value > MOST:
        return f"; the largest is {MOST:,}"
    known = _names(kind)
    for one in value if isinstance(value, tuple) else (value,):
        if known and isinstance(one, str) and one not in known and (found := closest(one, known)):
            return f".{found}"
    return ""


_REPR = Repr()
_REPR.maxstring = _REPR.maxother = 100


def _short(value) -> str:
    """The value in less than about a hundred characters."""
    return _REPR.repr(str(value) if isinstance(value, Path) else value)
