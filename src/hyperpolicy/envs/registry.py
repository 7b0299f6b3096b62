"""The known families: by name for whoever asks for one, by class for files that hold one.

hp.envs.register(MyFamily())        # known to every command, and to Gymnasium
"""

import msgspec

from hyperpolicy import registration
from hyperpolicy.envs.control import tasks
from hyperpolicy.envs.family import Family
from hyperpolicy.envs.gym_family import GymnasiumFamily
from hyperpolicy.envs.locomotion import ANT_DIR_RADIANS, AntDir, AntDirEndless, CheetahVel
from hyperpolicy.envs.metaworld import MetaWorld
from hyperpolicy.errors import AlreadyExists, BadFile, BadSetting, UnknownFamily, unknown

FAMILIES: dict[str, Family] = {}


def register(new: Family) -> Family:
    """The family, which is now known by its name to `family`, to every command and to Gymnasium
    (`hyperpolicy/<Name>-v0`), and whose class reads back what it wrote. Raises AlreadyExists:
    another family has this name, or another class the name of this one's; BadSetting: it cannot be
    written as JSON, or has no plain name."""
    kind = type(new).__name__
    if FAMILIES.get(new.name, new) != new:
        raise AlreadyExists(f"a family {new.name!r} is registered already; give yours another name")
    if _kinds().get(kind, type(new)) is not type(new):
        raise AlreadyExists(f"a class of families {kind!r} is registered already; rename yours")
    if not registration.PLAIN.fullmatch(new.name):
        raise BadSetting(
            f"family name {new.name!r}: give lower-case letters, digits and hyphens, such as "
            "'hopper-vel'"
        )
    try:
        again = read(new.record(), type(new))
    except (TypeError, BadFile) as error:
        raise BadSetting(f"family {new.name!r} cannot be written as JSON: {error}") from None
    if again != new:
        raise BadSetting(f"family {new.name!r} is not the same when read back from JSON")
    FAMILIES[new.name] = new
    registration.register(new.name, new.horizon_steps)
    return new


def family(name: str) -> Family:
    """The family called `name`. Raises UnknownFamily: no such family; the message suggests one."""
    if name not in FAMILIES:
        raise unknown(UnknownFamily, "task family", "Families", name, FAMILIES)
    return FAMILIES[name]


def read(record: dict, kind: type[Family] | None = None) -> Family:
    """The family that `Family.record` wrote; its class, unless given, is found by its name. Raises
    UnknownFamily: a family of a class that nobody registered here; BadFile: not such a record."""
    if not isinstance(record, dict) or not isinstance(record.get("kind"), str):
        raise BadFile("no family stands where one should: a record with a kind")
    facts = dict(record)
    name = facts.pop("kind")
    kind = kind or _kinds().get(name)
    if kind is None:
        raise UnknownFamily(
            f"this was made for a family of class {name!r}, which is not known here; "
            "`hyperpolicy --import FILE` loads a file that registers it. "
            f"Known: {', '.join(sorted(_kinds()))}"
        )
    try:
        return msgspec.convert(facts, kind)
    except (msgspec.ValidationError, BadSetting, ValueError) as error:
        raise BadFile(f"this family of class {name!r} is damaged: {error}") from None


def _kinds() -> dict[str, type[Family]]:
    known = {type(one).__name__: type(one) for one in FAMILIES.values()}
    return {GymnasiumFamily.__name__: GymnasiumFamily} | known


for _one in (CheetahVel(), AntDir(), ANT_DIR_RADIANS, AntDirEndless(), *tasks.FAMILIES):
    register(_one)
register(MetaWorld())
register(MetaWorld(name="metaworld-v1", reward_version="v1"))
