"""HyperZero's rollout files: what is written comes back, nothing in a file is run, faults are
named."""

import io
import pickle
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest

from hyperpolicy.data import inert_pickle
from hyperpolicy.data import released_rollouts as released
from hyperpolicy.data.episodes import Episode, Episodes
from hyperpolicy.envs.context import ContextSpace, Coordinate
from hyperpolicy.envs.locomotion import CheetahVel
from hyperpolicy.errors import AlreadyExists, BadFile, BadSetting, BadShape

T = 5
SPACE = ContextSpace(
    (
        Coordinate("speed", "m/s", -12.0, 12.0, default=10.0, least=0.1),
        Coordinate("length", "m", 0.2, 0.8, "dynamics", default=0.5),
        Coordinate("mass", "×", 0.2, 3.0, "dynamics", default=1.0),
    )
)
FAMILY = CheetahVel(name="cheetah-run", context=SPACE, horizon_steps=T, grids=())
SLOW, LONG, USUAL = [-3.5, 0.5, 1.0], [2.0, 0.7, 1.0], [10.0, 0.5, 1.0]


def episode(context, i: int = 0, **changed) -> Episode:
    rng = np.random.default_rng(i)
    obs, action, reward = (
        rng.normal(size=shape).astype(np.float32) for shape in ((T + 1, 20), (T, 6), T)
    )
    none = np.zeros((T, FAMILY.outcome_size), np.float32)
    made = Episode(np.array(context), obs, action, reward, none, False, True, i, 0, "expert")
    return made._replace(**changed)


MADE = Episodes.of(FAMILY, [episode(SLOW, 0), episode(LONG, 1), episode(SLOW, 2)])
VALUES = np.arange(3 * T, dtype=np.float32).reshape(3, T)


def file_of(path, content):
    np.save(path, np.array(content, object), allow_pickle=True)
    return path


@pytest.fixture
def arrays(tmp_path):
    """What a sound file holds."""
    [path] = released.write(MADE[[0, 2]], VALUES[[0, 2]], tmp_path / "sound")
    return released.load(path)


def test_what_is_written_comes_back_by_context(tmp_path):
    paths = released.write(MADE, VALUES, tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == [
        "cheetah_run/cheetah_run_td3_seed_2_overwrite_all-linear--3.5_dyn_0.5__00-00-00_rollout.npy",
        "cheetah_run/cheetah_run_td3_seed_2_overwrite_all-linear-2.0_dyn_0.7__00-00-00_rollout.npy",
    ]
    found, values = released.read_all(tmp_path, FAMILY)
    np.testing.assert_array_equal(found.index.context, [SLOW, SLOW, LONG])
    np.testing.assert_array_equal(values, VALUES[[0, 2, 1]])
    for one, was in zip(found, MADE[[0, 2, 1]], strict=True):
        for name in ("obs", "action", "reward"):
            np.testing.assert_array_equal(getattr(one, name), getattr(was, name))
        assert one.truncated and not one.terminated and one.made_by.endswith("_rollout.npy")
    assert found.index.policy.tolist() == [0, 0, 1]
    one, _ = released.read(paths[1], FAMILY)
    np.testing.assert_array_equal(one.index.context, [LONG])


def test_a_file_is_laid_out_as_the_released_ones(tmp_path):
    [path] = released.write(MADE[[0, 2]], VALUES[[0, 2]], tmp_path)
    assert "_dyn_default__" in path.name
    found = np.load(path, allow_pickle=True).item()
    assert {name: (x.dtype.name, x.shape) for name, x in found.items()} == {
        "state": ("float64", (2, T, 20)),
        "next_state": ("float64", (2, T, 20)),
        "action": ("float32", (2, T, 6)),
        "reward": ("float64", (2, T, 1)),
        "discount": ("float64", (2, T)),
        "value": ("float32", (2, T, 1)),
        "reward_param": ("float64", (2, T, 1)),
        "dynamics_param": ("float64", (2, T, 1)),
    }
    assert (found["discount"] == 1).all() and (found["reward_param"] == -3.5).all()
    assert (found["dynamics_param"] == 0).all()
    np.testing.assert_array_equal(found["state"][:, 1:], found["next_state"][:, :-1])


@pytest.mark.parametrize("protocol", [3, 4])
def test_files_as_the_released_code_writes_them_are_read(tmp_path, arrays, protocol):
    """A defaultdict of lists, whole numbers in the place of parameters, physics beside them; old
    NumPy has its functions under another name."""
    held = defaultdict(list, arrays)
    held |= {"reward_param": np.full((2, T, 1), 3), "dynamics_param": np.zeros((2, T, 1), int)}
    held["physics_qpos"] = np.asfortranarray(np.ones((2, T, 9), ">f8"))
    text = io.BytesIO()
    np.lib.format.write_array_header_1_0(text, {"descr": "|O", "fortran_order": False, "shape": ()})
    pickled = pickle.dumps(np.array(held, object), protocol)
    if protocol == 3:
        pickled = pickled.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    path = tmp_path / "other name.npy"
    path.write_bytes(text.getvalue() + pickled)
    found, values = released.read(path, FAMILY)
    np.testing.assert_array_equal(found.index.context, [[3.0, 0.5, 1.0]] * 2)
    np.testing.assert_array_equal(values, VALUES[[0, 2]])
    assert (released.load(path)["physics_qpos"] == 1).all()


def test_files_of_generators_have_no_values(tmp_path):
    path, _ = released.write(MADE, None, tmp_path)
    assert released.read(path, FAMILY)[1] is None
    released.write(MADE[1], VALUES[:1], tmp_path / "more")
    with pytest.raises(BadFile, match="others do"):
        released.read_all(tmp_path, FAMILY)


# --- Nothing is run -----------------------------------------------------------------------
class Evil:
    """Makes a folder where it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        import os

        return os.mkdir, (self.path,)


@pytest.mark.parametrize("place", ["root", "value", "array", "key"])
def test_nothing_in_a_file_is_run(tmp_path, arrays, place):
    trap = Evil(tmp_path / "trap")
    content = {
        "root": trap,
        "value": arrays | {"more": trap},
        "array": arrays | {"more": np.array([trap], object)},
        "key": arrays | {(trap,): arrays["value"]},
    }[place]
    path = file_of(tmp_path / "evil.npy", content)
    with pytest.raises(BadFile, match=r"posix\.mkdir.*not read") as fault:
        released.read(path, FAMILY)
    assert "\n" not in str(fault.value) and not (tmp_path / "trap").exists()


HEAD = b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (), }"
HEAD += b" " * (127 - len(HEAD)) + b"\n"


@pytest.mark.parametrize(
    "pickled",
    [
        b"cnumpy\ndtype\n(NX\x01\x00\x00\x00a}tb.",  # the state of a class
        b"cnumpy\ndtype\n(N}X\x05\x00\x00\x00stateK\x01stb.",
        b"cos\nsystem\n(S'true'\ntR.",
        b"\x80\x02r\xff\xff\xff\x7f.",  # a memo of gigabytes
        b"\x80\x04}r\xff\xff\xff\x7f.",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",  # bytes of exabytes
        b"0" * 20_000,
        b"N" * 20_000 + b".",
        b"(" * 9_000 + b".",
        b"N.",
        b"",
        b"\x80\xff.",
        b"Pname\n.",
        b"\x82\x01.",
    ],
)
def test_hostile_pickles_are_bad_files(tmp_path, pickled):
    path = tmp_path / "hostile.npy"
    path.write_bytes(HEAD + pickled)
    with pytest.raises(BadFile, match="dict of arrays") as fault:
        released.read(path, FAMILY)
    assert "\n" not in str(fault.value)


def test_a_file_may_end_anywhere(tmp_path, arrays):
    text = file_of(tmp_path / "whole.npy", arrays).read_bytes()
    for end in [*range(0, 400, 7), *range(400, len(text), 97), len(text) - 1]:
        path = tmp_path / "cut.npy"
        path.write_bytes(text[:end])
        with pytest.raises(BadFile):
            released.read(path, FAMILY)


def test_a_damaged_file_is_never_anything_but_a_bad_file(tmp_path, arrays):
    text = file_of(tmp_path / "whole.npy", arrays).read_bytes()
    rng, path = np.random.default_rng(0), tmp_path / "damaged.npy"
    for _ in range(300):
        damaged = bytearray(text)
        for at in rng.integers(0, 700, 3):
            damaged[at] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            released.read(path, FAMILY)
        except BadFile as fault:
            assert "\n" not in str(fault)


# --- Files that do not fit ----------------------------------------------------------------
def test_other_files_are_named(tmp_path, arrays, monkeypatch):
    path = tmp_path / "x.npy"
    with pytest.raises(BadFile, match="does not exist"):
        released.read(path, FAMILY)
    path.write_text("no numbers")
    with pytest.raises(BadFile, match=r"no \.npy file"):
        released.read(path, FAMILY)
    np.save(path, np.zeros((2, 3)))
    with pytest.raises(BadFile, match=r"array of 'float64' \[2, 3\]"):
        released.read(path, FAMILY)
    file_of(path, {"state": "text"})
    with pytest.raises(BadFile, match="'state' is no array of numbers"):
        released.read(path, FAMILY)
    file_of(path, {"state": np.array([None])})
    with pytest.raises(BadFile, match="'state' is no array of numbers"):
        released.read(path, FAMILY)
    with pytest.raises(BadFile, match=r"no \.npy files"):
        released.read_all(tmp_path / "nowhere", FAMILY)
    monkeypatch.setattr(inert_pickle, "MOST_BYTES", 100)
    with pytest.raises(BadFile, match="at most 100 bytes"):
        released.read(path, FAMILY)


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"state": None}, "lacks state"),
        ({"action": np.zeros((2, T, 4))}, r"action has shape \[2, 5, 4\]"),
        ({"value": np.zeros((2, T))}, r"value has shape"),
        ({"reward": np.zeros((1, T, 1))}, r"reward has shape"),
        ({"action": np.zeros(())}, "action has shape"),
        ({"reward": np.full((2, T, 1), np.nan)}, "not finite"),
        ({"state": np.full((2, T, 20), 1e300)}, "not finite"),
        ({"state": np.zeros((2, T, 20))}, "cut or shuffled"),
        ({"discount": np.zeros((2, T))}, "discount is not 1"),
        ({"reward_param": np.arange(2.0 * T).reshape(2, T, 1)}, "one context"),
        ({"reward_param": np.full((2, T, 1), 99.0)}, "outside"),
        ({"dynamics_param": np.full((2, T, 1), 7.0)}, "outside"),
    ],
)
def test_arrays_that_do_not_fit_are_named(tmp_path, arrays, changed, text):
    held = {name: x for name, x in (arrays | changed).items() if x is not None}
    with pytest.raises(BadFile, match=text) as fault:
        released.read(file_of(tmp_path / "x.npy", held), FAMILY)
    assert "\n" not in str(fault.value)


def test_families_without_a_length_or_with_other_steps(tmp_path):
    paths = released.write(MADE, VALUES, tmp_path)
    bare = replace(FAMILY, context=ContextSpace(SPACE.coordinates[:1]))
    with pytest.raises(BadFile, match=r"length 0\.5; cheetah-run has no length"):
        released.read(paths[0], bare)
    with pytest.raises(BadFile, match=r"take \[E, 1000, 20\]"):
        released.read(paths[0], replace(FAMILY, horizon_steps=1000))
    none = replace(FAMILY, context=ContextSpace(SPACE.coordinates[1:]))
    with pytest.raises(BadSetting, match="0 coordinates of its reward"):
        released.read(paths[0], none)


def test_what_cannot_be_written(tmp_path, as_user):
    def write(one: Episode, values=None):
        released.write(Episodes.of(FAMILY, [one]), values, tmp_path)

    with pytest.raises(BadSetting, match="ended by themselves"):
        write(episode(SLOW, terminated=True))
    with pytest.raises(BadSetting, match="at least one"):
        released.write(MADE[:0], None, tmp_path)
    with pytest.raises(BadSetting, match="in mass"):
        write(episode([1.0, 0.5, 2.0]))
    with pytest.raises(BadShape, match=r"\[1, 5\]"):
        write(episode(SLOW), np.zeros((1, 4), np.float32))
    with pytest.raises(BadSetting, match="5 values are not finite"):
        write(episode(SLOW), np.full((1, 5), np.nan, np.float32))
    short = episode(SLOW)
    short = short._replace(obs=short.obs[:-1], action=short.action[1:], reward=short.reward[1:])
    with pytest.raises(BadShape, match="4 to 4 steps"):
        write(short._replace(outcome=short.outcome[1:]))
    assert not list(tmp_path.iterdir())
    write(episode(SLOW))
    there = sorted(tmp_path.rglob("*.npy"))
    with pytest.raises(AlreadyExists, match="choose another folder"):
        released.write(Episodes.of(FAMILY, [episode(SLOW), episode(USUAL)]), None, tmp_path)
    assert sorted(tmp_path.rglob("*.npy")) == there
