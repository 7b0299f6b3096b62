"""Options: every number has bounds, every path and name is checked, what has no effect is refused;
all before any work."""

import os
import types
from dataclasses import is_dataclass
from pathlib import Path
from typing import Annotated, Union, get_args, get_origin

import pytest
from msgspec import Meta

import hyperpolicy as hp
from hyperpolicy import bounds, cli
from hyperpolicy.data.demonstrations import Demonstrations
from hyperpolicy.errors import BadSetting
from hyperpolicy.recipes.genhyper import figure_6
from hyperpolicy.recipes.genhyper import table_1 as genhyper_table_1
from hyperpolicy.recipes.zero_shot import presets, zoos
from hyperpolicy.recipes.zero_shot import table as zero_shot

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch, as_user):
    """An empty directory to work in, where nothing trains."""

    def never(*args, **kwargs):
        pytest.fail("work began")

    for module, name in ((zoos, "provide"), (zoos, "specialized"), (zoos, "independent")):
        monkeypatch.setattr(module, name, never)
    monkeypatch.setattr(zero_shot, "measure", never)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(line: str, capsys) -> str:
    """The one line with which a command ends before it writes anything."""
    before = sorted(os.listdir())
    assert cli.main(line.split()) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    assert sorted(os.listdir()) == before
    return error


# --- Numbers ------------------------------------------------------------------------------
LINES = [
    "play cheetah-vel",
    "train cheetah-vel --out o",
    *(
        f"fit z --out o {kind}"
        for kind in (
            "regression",
            "hyplatent",
            "hyplatent autoencoder-config",
            "hyplatent pca-config",
            "genhyper",
            "make-an-agent",
            "make-an-agent pca-config film-mlp-config",
            "make-an-agent pca-config unet1d-config",
            "distill",
            "residual",
            "hindsight",
            "hyperzero",
            "hypogen",
            "conditioned-clone",
            "maml",
        )
    ),
    "tune g --context 1 --out o",
    "generate g --out o",
    "score cheetah-vel",
    "export cheetah-vel --out o.onnx",
    "zoo import a.npz --family cheetah-vel --context 1 --out o",
    "page --out o",
    "report o",
    "demo",
    *(
        f"recipe {name}"
        for name in (
            "zoos",
            "cheetah-vel-table",
            "genhyper-table1",
            "figure-6",
            "amt-hyp",
            "amthyp-table1",
            "amthyp-table2",
            "amthyp-table3",
            "amthyp-tokens",
            "amthyp-pca",
            "hyperzero-reward",
            "hyperzero-dynamics",
            "hyperzero-joint",
            "hyperzero-ablation",
            "hyperzero-hypogen",
            "actuator-signs",
            "actuator-morph",
            "mt10-small",
            "mt10-200k",
            "mt10-1m",
            "mt10-projection",
            "mt10-residual",
            "mt50-200k",
            "mt50-1m",
            "mt50-demonstration",
            "ml45-demonstration",
            "goals-demonstration",
            "demonstration-search",
            "meta-rl",
            "choosing",
            "confidence",
        )
    ),
]


SUBCOMMANDS = (
    *("regression", "hyplatent", "genhyper", "make-an-agent", "distill", "residual", "hindsight"),
    *("autoencoder-config", "pca-config", "film-mlp-config", "unet1d-config"),
    *("hyperzero", "hypogen", "conditioned-clone", "maml"),
)


def configs(command, depth: int = 0) -> list[tuple[object, int]]:
    """A command and the configurations inside it, each behind how many subcommands' words."""
    found, words = [(command, depth)], 0
    for name, kind in bounds.kinds(type(command)).items():
        one, chosen = getattr(command, name), get_origin(kind) in (Union, types.UnionType)
        if is_dataclass(one) and "Suppress" not in repr(kind):
            words += chosen
            found += configs(one, depth + words * chosen)
    return found


def wrong_numbers(kind) -> list[str]:
    """What an option of this type refuses, as it is typed."""
    if get_origin(kind) is Annotated:
        limits = [mark for mark in kind.__metadata__ if isinstance(mark, Meta)]
        if kind.__origin__ not in (int, float):
            short = [""] if any(limit.min_length for limit in limits) else []
            return short + wrong_numbers(kind.__origin__)
        assert limits, f"{kind} has no bounds"
        ends = [
            *((limit.ge - 1) for limit in limits if limit.ge is not None),
            *(limit.gt for limit in limits if limit.gt is not None),
            *((limit.le + 1) for limit in limits if limit.le is not None),
            *(limit.lt for limit in limits if limit.lt is not None),
        ]
        return [*map(str, ends), *(["nan", "inf"] if kind.__origin__ is float else [])]
    assert kind is not int, "a whole number without bounds"
    if kind is float:
        return ["nan", "inf"]
    parts = [part for part in get_args(kind) if part is not ...]
    if get_origin(kind) is tuple and len(parts) > 1:
        return [" ".join([wrong] * len(parts)) for wrong in wrong_numbers(parts[0])]
    return [wrong for part in parts for wrong in wrong_numbers(part)]


@pytest.mark.parametrize("line", LINES)
def test_every_number_of_every_command_has_bounds(line, place):
    words, count = line.split(), 0
    nested = "recipe", "zoo"
    chosen = [i for i, word in enumerate(words) if word in SUBCOMMANDS or words[i - 1] in nested]
    places = [*chosen, len(words)]
    for config, depth in configs(cli.parse(words)):
        if depth >= len(places):
            continue  # inside a default that a word would have to choose
        at = places[depth]
        for name, kind in bounds.kinds(type(config)).items():
            option = f"--{name.replace('_', '-')}"
            for wrong in [] if "Suppress" in repr(kind) else wrong_numbers(kind):
                with pytest.raises(BadSetting, match=f"^{name}=.*{option}"):
                    cli.parse([*words[:at], option, *wrong.split(), *words[at:]])
                count += 1
    assert count > 0 or line in WITHOUT_NUMBERS
    assert not os.listdir()


def test_no_command_is_left_out():
    """The lines above reach every command and configuration that has a number."""
    seen = {type(one) for line in LINES for one, _ in configs(cli.parse(line.split()))}
    for name in cli.COMMANDS:
        for kind in options(cli.load(name).shaped([])) - seen:
            found = [wrong_numbers(one) for one in bounds.kinds(kind).values()]
            assert not any(found), f"{kind.__name__} stands in no line"


def options(command: type) -> set[type]:
    """A command's class and those of its subcommands and configurations."""
    found = {command}
    for kind in bounds.kinds(command).values():
        parts = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
        for part in parts:
            part = part.__origin__ if get_origin(part) is Annotated else part
            if is_dataclass(part) and "Suppress" not in repr(kind):
                found |= options(part)
    return found


WITHOUT_NUMBERS = (
    "demo",
    "report o",
    "page --out o",
    "recipe amthyp-tokens",
    "recipe amthyp-pca",
)


FAULTS = [
    ("fit {zoo} --out o hyplatent --batch -4", "batch=-4 (--batch); give a whole number, at least"),
    ("fit {zoo} --out o hyplatent --batch 0", "batch=0"),
    ("fit {zoo} --out o hyplatent --noise -2", "noise=-2"),
    ("fit {zoo} --out o hyplatent --generator-hidden", "generator_hidden=() (--generator-hidden)"),
    ("fit {zoo} --out o hyplatent --generator-hidden 0 4", "generator_hidden=(0, 4)"),
    ("fit {zoo} --out o hyplatent autoencoder-config --dim 0", "dim=0"),
    ("fit {zoo} --out o hyplatent pca-config --components -3", "components=-3"),
    ("fit {zoo} --out o hyplatent --steps 0", "steps=0"),
    ("fit {zoo} --out o hyplatent --steps -10", "steps=-10"),
    ("fit {zoo} --out o hyplatent --dropout 2", "dropout=2.0"),
    ("fit {zoo} --out o hyplatent --rate -1", "rate=-1.0"),
    ("fit {zoo} --out o genhyper --dim 0", "dim=0"),
    ("fit {zoo} --out o distill --steps 0", "steps=0"),
    ("fit {zoo} --out o regression --ridge nan", "ridge=nan"),
    ("fit {zoo} --out o regression --ridge -1", "ridge=-1.0"),
    ("fit {zoo} --out o --seed -1 hyplatent", "seed=-1"),
    ("train cheetah-vel --out o --discount 2", "discount=2.0"),
    ("train cheetah-vel --out o --tau -1", "tau=-1.0"),
    ("train cheetah-vel --out o --seed -1", "seed=-1"),
    ("train cheetah-vel --out o --activations relu rely", "Did you mean 'relu'?"),
    ("tune {generator} --context 1 --out o --seed -1", "seed=-1"),
    ("tune {generator} --context 1 --out o --episodes 0", "episodes=0"),
    ("generate {generator} --context 1 --out o --seed -1", "seed=-1"),
    ("play cheetah-vel --context 1 --policy zero --seed -1", "seed=-1"),
    ("play cheetah-vel --context 1 --policy zero --video v.mp4 --every 0", "every=0"),
    ("score cheetah-vel --episodes 0", "episodes=0"),
    ("score cheetah-vel --draws -1", "draws=-1"),
    ("score cheetah-vel --policy", "policy=()"),
    ("recipe figure-6 --steps -5 --out o", "steps=-5"),
    ("recipe figure-6 --counts --out o", "counts=()"),
    ("recipe genhyper-table1 --minutes nan --out o", "minutes=nan"),
]


@pytest.mark.parametrize(("line", "says"), FAULTS, ids=[line for line, _ in FAULTS])
def test_numbers_that_cannot_be(line, says, made, capsys):
    error = refused(line.format(zoo=made / "zoo", generator=made / "generator"), capsys)
    assert error.startswith("BadSetting: ") and says in error


# --- Names, places, and what has no effect ------------------------------------------------
REFUSED = [
    # recipes, before they train
    ("recipe amthyp-table1 --methods HypFrmer --out o", "Did you mean 'HypFormer'?"),
    ("recipe amthyp-table1 --methods --out o", "methods=()"),
    ("recipe amt-hyp --methods HypLatnt --out o", "Did you mean 'HypLatent'?"),
    ("recipe amthyp-table3 --methods decoded_expert --out o", "is a row for seen tasks; this"),
    ("recipe amthyp-table1 --out file", "out='file' (--out); give"),
    ("recipe amt-hyp --ship file --out o", "ship='file'"),
    ("recipe amt-hyp --ship-generator file --out o", "ship_generator='file'"),
    ("recipe zoos --family cheetah-vell --out o", "UnknownFamily"),
    ("recipe zoos --grid macav --out o", "UnknownGrid"),
    ("recipe zoos --family ant-dir --kind shared-replay --out o", "PPO has no replay"),
    ("recipe zoos --ship file --out o", "ship='file'"),
    ("recipe zoos --out file", "out='file'"),
    ("recipe zoos --out file/below", "in a directory that can be written to"),
    ("recipe cheetah-vel-table --zoos zoos --kinds specialised --out o", "'specialized'?"),
    ("recipe cheetah-vel-table --zoos zoos --splits ful --out o", "UnknownSplit"),
    ("recipe cheetah-vel-table --zoos zoos --kinds --out o", "kinds=()"),
    ("recipe cheetah-vel-table --zoos nowhere --out o", "nowhere holds no specialized zoo"),
    ("recipe cheetah-vel-table --zoos zoos --splits sixteenth --out o", "zoo of split 'sixteenth'"),
    ("recipe genhyper-table1 --families cheetah --out o", "UnknownFamily"),
    ("recipe genhyper-table1 --grids authers --out o", "Did you mean 'authors'?"),
    ("recipe genhyper-table1 --kinds alined --out o", "Did you mean 'aligned'?"),
    ("recipe genhyper-table1 --splits ful --out o", "Did you mean 'full'?"),
    ("recipe genhyper-table1 --splits --out o", "splits=()"),
    ("recipe genhyper-table1 --rows HypLaten --out o", "Did you mean 'HypLatent'?"),
    ("recipe genhyper-table1 --zoos nowhere --out o", "no directory nowhere (--zoos)"),
    ("recipe figure-6 --zoos nowhere --out o", "no directory nowhere (--zoos)"),
    ("recipe figure-6 --family cheetah --out o", "UnknownFamily"),
    ("recipe figure-6 --counts 99 --out o", "UnknownSplit"),
    ("recipe figure-6 --critics nearist --out o", None),
    ("recipe figure-6 --steps 100 --out o", "begins with 5000 random ones"),
    ("recipe figure-6 --tuned-steps 100 --out o", "tuned_steps (--tuned-steps): steps=100"),
    ("recipe figure-6 --critics-steps 100 --out o", "(--critics-steps): steps=100"),
    ("recipe figure-6 --ppo-steps 100 --out o", "(--ppo-steps): steps=100: ppo looks"),
    ("recipe figure-6 --new-zoos file --out o", "new_zoos='file'"),
    ("demo --zoo nowhere --out o", "no zoo at nowhere"),
    # places
    ("generate {generator} --context 1 --out newdir/", "newdir/ names a directory"),
    ("generate {generator} --context 1 --out zoos", "the name of a file, not of a directory"),
    ("generate {generator} --context 1 --out link", "AlreadyExists: link exists"),
    ("generate {generator} --context 1 --out file/below", "in a directory that can be written"),
    ("generate {generator} --context 1 --out {long}", "a path that the system accepts"),
    ("score cheetah-vel --policy zero --out newdir/", "newdir/ names a directory"),
    ("score cheetah-vel --policy zero --out link", "AlreadyExists: link exists"),
    ("play cheetah-vel --context 1 --policy zero --video v/", "v/ names a directory"),
    ("play cheetah-vel --context 1 --policy zero --video link.mp4", "AlreadyExists: link.mp4"),
    ("train cheetah-vel --out file", "out='file'"),
    ("train cheetah-vel --out link", "out='link'"),
    ("train cheetah-vel --out {long}", "a path that the system accepts"),
    ("fit {zoo} --out file regression", "out='file'"),
    ("fit {long} --out o regression", "a path that the system accepts"),
    ("tune {generator} --context 1 --out file", "out='file'"),
    ("zoo align {zoo} --out file", "AlreadyExists: file exists"),
    ("zoo align {zoo} --out link", "AlreadyExists: link exists"),
    ("zoo info {long}", "a path that the system accepts"),
    # other families and tasks
    ("score ant-dir-radians --policy zero --zoo {zoo}", "of family cheetah-vel; give one of ant"),
    ("play metaworld:door-open --policy zero --demo shown", "leave --demo out"),
    # no effect
    ("generate {generator} --context 1 --demo shown --out o", "leave --demo out"),
    ("play cheetah-vel --context 1 --policy {generator} --demo shown", "leave --demo out"),
    ("play cheetah-vel --context 1 --policy zero --every 2", "every=2 has no effect without"),
    ("play cheetah-vel --context 1 --policy zero --zoo {zoo}", "no effect with --policy zero"),
    ("fit {zoo} --out o --seed 3 regression", "seed=3 has no effect"),
    ("fit {zoo} --out o --seed 3 residual", "seed=3 has no effect"),
    ("fit {zoo} --out o hyplatent --states 8", "states=8 has no effect without --behavior"),
    ("fit {zoo} --out o genhyper --states 8", "states=8 has no effect without --behavior"),
    ("tune {generator} --context 1 --out o --zoo {zoo}", "no effect with --critics warm-up"),
    ("tune {generator} --context 1 --out o --critics nearest", "give the one the generator"),
    ("tune {generator} --context 1 --out o --neighbors 3", "neighbors=3 has no effect"),
    ("tune {generator} --context 1 --out o --judge-updates 3", "judge_updates=3 has no effect"),
    ("tune {generator} --context 1 --out o --critics random --warmup-updates 3", "no effect with"),
    (
        "tune {generator} --context 1 --out o --critics nearest --zoo {zoo} --usual-reward 1",
        "which bring their own",
    ),
    ("tune {generator} --context 1 --out o --learner ppo --critics random", "no effect with"),
    ("tune {generator} --context 1 --out o --learner ppo --fill-steps 300", "no effect with"),
]


@pytest.mark.parametrize(("line", "says"), REFUSED, ids=[line for line, _ in REFUSED])
def test_what_cannot_work_is_refused_before_work(line, says, made, place, capsys):
    (place / "file").write_text("mine")
    (place / "zoos").mkdir()
    (place / "zoos/specialized-full").symlink_to(made / "zoo")
    for name in ("link", "link.mp4"):
        (place / name).symlink_to("nowhere")
    line = line.format(zoo=made / "zoo", generator=made / "generator", long="x" * 300)
    words = ["decoded expert" if word == "decoded_expert" else word for word in line.split()]
    before = sorted(os.listdir())
    if says is None:  # tyro knows the choices
        with pytest.raises(SystemExit) as end:
            cli.main(words)
        assert end.value.code == 2
        return
    assert cli.main(words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and says in error, error
    assert sorted(os.listdir()) == before
    assert (place / "file").read_text() == "mine"


def test_a_file_of_demonstrations_says_which_tasks_it_has(tmp_path, capsys, monkeypatch):
    """For a generator that reads demonstrations: an absent task is answered with those there."""
    from hyperpolicy.cli.command import given_to
    from hyperpolicy.errors import BadContext

    fam = hp.family("metaworld")

    class Reads:
        takes = Demonstrations
        family = fam

    shown = fam.contexts(["door-open", "window-open"])
    kept = type("Kept", (), {"contexts": shown, "__len__": lambda self: 2})()
    monkeypatch.setattr(Demonstrations, "load", lambda path: kept)
    with pytest.raises(BadContext, match="no demonstration of drawer-open; it has some of: door-"):
        given_to(Reads(), fam.contexts(["drawer-open"]), tmp_path / "x")


@pytest.mark.parametrize("option", ["--hidden 8", "--activations elu"])
@pytest.mark.parametrize("learner", ["td-sac", "ppo"])
def test_tune_refuses_what_the_generator_decides(option, learner, made, tmp_path, capsys):
    line = f"tune {made / 'generator'} --context 1 --out {tmp_path / 'o'} --learner {learner}"
    assert cli.main(f"{line} {option}".split()) == 2
    assert f"{option.split()[0]}\n" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("command", ["amthyp-tokens", "amthyp-pca"])
def test_recipes_without_rows_take_no_methods(command):
    with pytest.raises(SystemExit):
        cli.parse(["recipe", command, "--methods", "HypLatent"])


@pytest.mark.parametrize("seed", ["0", "99999999999999999999"])
def test_seeds_of_any_size_are_taken(seed, made, place):
    for line in (
        "play cheetah-vel",
        "generate g --out o",
        "score cheetah-vel",
        "train cheetah-vel --out o",
        "tune g --context 1 --out o",
    ):
        assert cli.parse([*line.split(), "--seed", seed]).seed == int(seed)


def test_what_recipes_take_by_default_is_checked_and_passes(monkeypatch):
    """No check refuses the recipes' own settings."""
    monkeypatch.chdir(REPOSITORY)
    assert list(figure_6.check(figure_6.Figure6Config())[1])
    assert list(figure_6.check(figure_6.Figure6Config(family="ant-dir"))[1])
    assert genhyper_table_1._checked(genhyper_table_1.Table1Config())
    assert presets.WITHOUT_BASE
