"""Fifty tasks from one demonstration, on arms whose every step is a success, with episodes of 70
steps; two folds of MT10's tasks stand for five of fifty."""

from dataclasses import dataclass, replace

import gymnasium
import numpy as np
import pytest
from rich.console import Console

import hyperpolicy as hp
from hyperpolicy import files, registration
from hyperpolicy.baselines.decision_transformer import DecisionConfig
from hyperpolicy.cli import fifty as commands
from hyperpolicy.data.demonstrations import Demonstrations
from hyperpolicy.data.episodes import Episodes
from hyperpolicy.envs import registry
from hyperpolicy.envs.context import Grid
from hyperpolicy.envs.metaworld import MetaWorld, crews
from hyperpolicy.envs.metaworld.family import MT10, contexts_of
from hyperpolicy.errors import BadContext, BadSetting
from hyperpolicy.generate import generator as generators
from hyperpolicy.generate import sentence
from hyperpolicy.generate.behavior_embedding import BehaviorEmbeddingConfig
from hyperpolicy.generate.codecs import PcaConfig
from hyperpolicy.generate.writers.conditioned import DistillConfig
from hyperpolicy.generate.writers.hypformer import HypFormerConfig
from hyperpolicy.generate.writers.hyplatent import HypLatentConfig
from hyperpolicy.generate.writers.make_an_agent import MakeAnAgentConfig
from hyperpolicy.nets.film_mlp import FilmMlpConfig
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.policies import Policies
from hyperpolicy.recipes.amt_hyp import prompted
from hyperpolicy.recipes.amt_hyp.presets import SMOKE_DATA
from hyperpolicy.recipes.fifty import makers, page, rows, search, study
from hyperpolicy.recipes.fifty.presets import FiftyPreset

IDS = range(4)


@dataclass(frozen=True, kw_only=True)
class EasyTasks(MetaWorld):
    name: str = "easy-tasks"
    horizon_steps: int = 70
    grids: tuple[Grid, ...] = (  # of two grids with one name the last one counts
        *MetaWorld.grids,
        Grid.of(
            "easy-tasks",
            "mt50",
            contexts_of(MT10[:4]),
            {"all": (IDS, IDS), "fold-0": ((2, 3), (0, 1)), "fold-1": ((0, 1), (2, 3))},
        ),
        Grid.of("easy-tasks", "mt10", contexts_of(MT10[:2])),
    )

    def success(self, outcome):
        return np.asarray(outcome)[..., 0] > -1.0


GAN = HypLatentConfig(
    encoder=PcaConfig(components=4),
    generator_hidden=(8, 4),
    discriminator_hidden=(8, 4),
    noise=2,
    batch=8,
    steps=5,
)
TINY = FiftyPreset(
    data=replace(SMOKE_DATA, layouts=("opening", "whole")),
    embedding=BehaviorEmbeddingConfig(
        dim=4, opening_hidden=(8,), ending_hidden=4, batch=4, steps=10
    ),
    hyplatent=GAN,
    hypformer=HypFormerConfig(width=8, heads=4, ff=8, tokens=2, batch=8, steps=5),
    make_an_agent=MakeAnAgentConfig(
        encoder=PcaConfig(components=4),
        net=FilmMlpConfig(width=8, blocks=1, embedding=4),
        batch=8,
        steps=5,
        diffusion_steps=10,
        sampling_steps=2,
    ),
    distill=DistillConfig(steps=5, batch=8),
    shipped_embedding=BehaviorEmbeddingConfig(
        dim=2, opening_hidden=(4,), ending_hidden=4, batch=4, steps=5
    ),
    shipped=replace(GAN, generator_hidden=(4,), discriminator_hidden=(4,)),
    decision=DecisionConfig(
        width=8, layers=1, context=2, piece_steps=23, where="start", tasks=2, each=2, steps=2
    ),
    episodes=1,
    seeds=(0, 1),
    policies=2,
    seldom=1,
    configurations=1,
    choosing=0,
    released=False,
    elsewhere=1,
    tuned=1,
    tuned_episodes=40,
)


@pytest.fixture(scope="module")
def family():
    yield hp.envs.register(EasyTasks())
    crews.dismiss()
    del registry.FAMILIES["easy-tasks"]
    gymnasium.registry.pop(registration.id_of("easy-tasks"))


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("fifty")


@pytest.fixture(scope="module")
def fold(family, out):
    preset = replace(TINY, data=replace(TINY.data, tested=("unseen",)), seeds=(0,))
    return study.bench(preset, out, "fold-0", family)


@pytest.mark.slow
def test_every_row_has_a_cell(fold, out):
    found, left = study.cells(fold, "unseen", list(rows.ROWS), [].append)
    assert not left and "decoded expert" not in found and "Prompt-DT" in found
    assert found["HypLatent"].strict.returns.shape == (1, 2, 2, 1)
    assert found["Prompt-DT"].strict.returns.shape == (1, 1, 2, 1)
    assert (
        found["HypLatent" + rows.REPLAYED].strict.protocol.starts == "those of the demonstrations"
    )
    late, left = study.cells(fold, "unseen", ["HypLatent", "scripted policy"], pytest.fail, 0.0)
    assert list(late) == ["HypLatent", "scripted policy"] and not left
    question = replace(study.QUESTIONS["ml45"], benches=("fold-0",))
    text = page.page(question, [fold], {n: [c] for n, c in found.items()}, ["HypFormer (fold-1)"])
    for part in ("told another task", "ahead of one expert", "| reach |", "Not begun yet"):
        assert part in text
    rates = {n: study.rate([c]) for n, c in found.items()}
    assert page.draw(rates, out / "fold.png").stat().st_size > 10_000


@pytest.mark.slow
def test_no_artefact_of_a_fold_knows_its_test_tasks(fold):
    """The names of tasks, read out of every file that a fit stands on."""
    known, hidden = fold.tasks("seen"), set(fold.tasks("unseen"))
    assert len(known) == 2 and not hidden & set(known)
    record = files.load_json(fold.out / "data/tasks.json")
    assert record["train"] == known and set(record["test"]) == hidden
    fold.embedding, rows.ROWS["HypLatent"].fit(fold)

    def names(contexts):
        return {fold.family.task_name(context) for context in contexts}

    data = fold.data
    assert names(data.zoo.contexts) == names(data.train.contexts) == set(known)
    assert names(data.whole[0].contexts) == set(known)
    assert len(rows.base(fold)) == len(known)
    meta = files.read_meta(fold.out / "embedding.safetensors")
    assert meta["tasks"] == known
    for path in (fold.out / "fits").rglob("config.json"):
        assert names(generators.load(path.parent).trained_contexts) <= set(known)
    experts = hp.Zoo.load(fold.out / "data/experts/zoo")
    assert names(experts.contexts) == set(known)


@pytest.mark.slow
def test_a_directory_is_of_one_fold(family, out, fold):
    split = family.grid("mt50").split("fold-1")
    with pytest.raises(BadSetting, match="holds data of grid 'mt50', split 'fold-0'"):
        study.provide(TINY.data, fold.out / "data", family, split=split)


@pytest.mark.slow
def test_changes_of_the_lesson_are_fitted_and_scored(fold):
    found = search.cells(fold, "unseen", list(search.VARIANTS), [].append)
    assert len(found) == 2 * len(search.VARIANTS)
    text = search.table({name: [cell] for name, cell in found.items()})
    assert "objects and goal blanked" in text and "lost" in text
    tuned = search.online(fold, "unseen")
    assert set(tuned) == {"generated", "one expert", "base, told nothing"}
    assert "after learning online" in search.online_table([tuned])
    one, own = (hp.Zoo.load(fold.out / f"{x}data/experts/zoo") for x in ("", "own-starts/"))
    assert one.provenance["start_is"].endswith("folded at each task")
    assert own.provenance["start_is"].endswith("one for each task")


@pytest.mark.slow
def test_goals_are_left_out(family, out):
    b = study.bench(replace(TINY, seeds=(0,)), out, "goals", family)
    assert b.data.zoo.family.configurations == "inner" and b.family.configurations == "outer"
    found, _ = study.cells(b, "seen", ["HypLatent", "scripted policy"], [].append)
    prompted.fitted(b)
    history = Episodes.load(b.out / "data/history")
    assert history.family.configurations == "inner"  # nothing of the region reaches a fit
    assert found["HypLatent"].strict.protocol.starts.endswith("outer configurations")
    goals = {which: set() for which in ("train", "test")}
    for which, shown in (("train", b.data.train), ("test", b.data.test)):
        goals[which] |= set(map(tuple, shown.ending[:, 36:39].round(4).tolist()))
    assert not goals["train"] & goals["test"]


@pytest.mark.slow
def test_the_command_writes_the_page(family, out, fold, monkeypatch):
    monkeypatch.setattr(commands.study, "bench", lambda preset, out, name: fold)
    console = Console(record=True, width=200)
    commands.Ml45Demonstration(out=out, folds=(0,), rows=("HypLatent", "scripted policy")).run(
        console
    )
    assert (out / "ml45-demonstration.md").exists() and (out / "ml45-demonstration.png").exists()
    assert set(files.load_json(out / "ml45-demonstration.json")) == {"HypLatent", "scripted policy"}
    with pytest.raises(BadSetting, match="Did you mean 'HypFormer'"):
        commands.Mt50Demonstration(rows=("HypForner",))
    with pytest.raises(BadSetting, match="give some of 0 to 4"):
        commands.Ml45Demonstration(folds=(5,))


# --- Parts --------------------------------------------------------------------------------
def shown(n: int = 4) -> Demonstrations:
    rng = np.random.default_rng(0)
    arm = hp.family("metaworld")
    contexts = np.repeat(arm.contexts(["reach", "push"]), n // 2, axis=0)
    return Demonstrations(arm, contexts, rng.normal(size=(n, 1020)), rng.normal(size=(n, 117)))


SPEC = PolicySpec(39, 4, (2,))


class Told:
    """Keeps what it was shown."""

    def generate(self, given, seed=0):
        self.given = given
        return Policies(np.zeros((1, SPEC.size)), SPEC)


def test_a_wrong_task_is_shown():
    maker, demos = Told(), shown()
    wrong = makers.another(np.unique(demos.contexts, axis=0))
    makers.Instead(maker, demos, wrong).generate(demos[:2])
    np.testing.assert_array_equal(maker.given.contexts, demos.contexts[2:])
    np.testing.assert_array_equal(maker.given.opening, demos.opening[2:])


def test_blanked_demonstrations_keep_the_hand_and_the_actions():
    demos = shown()
    blank = makers.blanked(demos)
    old, new = (x.opening.reshape(4, 20, 51) for x in (demos, blank))
    same = [*range(4), *range(18, 22), *range(39, 51)]
    np.testing.assert_array_equal(new[..., same], old[..., same])
    assert not new[..., [i for i in range(51) if i not in same]].any()
    assert not blank.ending.reshape(4, 3, 39)[..., 4:18].any()


def test_a_mirror_twice_is_none():
    demos = shown()
    twice = makers.mirrored(makers.mirrored(demos))
    np.testing.assert_array_equal(twice.opening, demos.opening)
    once = makers.mirrored(demos).opening.reshape(4, 20, 51)
    np.testing.assert_array_equal(once[..., 0], -demos.opening.reshape(4, 20, 51)[..., 0])
    np.testing.assert_array_equal(once[..., 39], -demos.opening.reshape(4, 20, 51)[..., 39])
    np.testing.assert_array_equal(once[..., 40], demos.opening.reshape(4, 20, 51)[..., 40])


def test_prompts_are_the_demonstrations_steps():
    demos = shown()
    made = prompted.prompts(demos)
    assert made.steps == 23 and (made.reward.sum(axis=1) == 1).all()
    assert (made.to_go[:, :20] == 1).all() and not made.to_go[:, 20:].any()
    np.testing.assert_array_equal(made.obs[:, 1], demos.opening.reshape(4, 20, 51)[:, 1, :39])
    np.testing.assert_array_equal(made.action[:, 2], demos.opening.reshape(4, 20, 51)[:, 2, 39:43])
    np.testing.assert_array_equal(made.obs[:, -1], demos.ending[:, -39:])
    assert len(prompted.as_episodes(demos)) == 4


def test_a_sentence_is_of_the_task_that_is_shown():
    arm, demos = hp.family("metaworld"), shown()
    reader = sentence.reader(arm, arm.contexts(["reach", "push", "door-open"]), None)
    told = np.asarray(reader.read(demos))
    assert told.shape == (4, 2) and (told[0] == told[1]).all() and (told[0] != told[2]).any()
    assert np.abs(told).max() <= 1.0 + 1e-6


@pytest.mark.slow
def test_layouts_are_not_mixed_up(fold):
    generator = rows.ROWS["HypLatent"].fit(fold)[0]
    with pytest.raises(BadContext, match="of layout 'whole'; this generator reads 'opening'"):
        generator.generate(fold.data.whole[1])


@pytest.mark.slow
def test_a_fold_that_is_asked_about_a_task_it_knows_warns(fold):
    generator = rows.ROWS["HypLatent"].fit(fold)[0]
    with pytest.warns(UserWarning, match="of fold-0 was trained on .*, which it is shown"):
        generator.generate(fold.data.train[:1])
