"""Generators that read demonstrations, on a made-up zoo of four tasks with weights of their own."""

from dataclasses import replace

import jax
import numpy as np
import pytest

import hyperpolicy as hp
from hyperpolicy.data.demonstrations import Demonstrations, widths
from hyperpolicy.errors import BadContext, BadZoo
from hyperpolicy.generate import demonstration
from hyperpolicy.generate.behavior_embedding import BehaviorEmbeddingConfig
from hyperpolicy.generate.codecs import PcaConfig
from hyperpolicy.generate.fitting import fit, fit_seeds
from hyperpolicy.generate.lesson import Lesson, pairs
from hyperpolicy.generate.writers import hypformer, lookup
from hyperpolicy.generate.writers.conditioned import DistillConfig
from hyperpolicy.generate.writers.hypformer import HypFormerConfig
from hyperpolicy.generate.writers.hyplatent import HypLatentConfig
from hyperpolicy.generate.writers.make_an_agent import MakeAnAgentConfig
from hyperpolicy.nets.film_mlp import FilmMlpConfig
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.zoo import Zoo

FAMILY = hp.family("metaworld")
TASKS = FAMILY.grid("amt-hyp").split("seen").train[:4]
SPEC = PolicySpec(39, 4, (4, 4), ("elu", "relu"))
EMBEDDING = BehaviorEmbeddingConfig(
    dim=8, opening_hidden=(16,), ending_hidden=8, batch=16, steps=310, rate=3e-3
)
GAN = HypLatentConfig(
    encoder=PcaConfig(components=4),
    generator_hidden=(16, 8),
    discriminator_hidden=(16, 8),
    batch=16,
    steps=600,
    rate=2e-3,
)
DIFFUSION = MakeAnAgentConfig(
    encoder=PcaConfig(components=4),
    net=FilmMlpConfig(width=32, blocks=2, embedding=8),
    batch=32,
    steps=310,
    rate=5e-3,
    diffusion_steps=20,
    sampling_steps=5,
)
FORMER = HypFormerConfig(width=8, heads=4, ff=16, tokens=2, batch=16, steps=200, rate=2e-3)


def shown(task: np.ndarray, seed: int) -> Demonstrations:
    """Demonstrations of numbered tasks: each task's own place, and some noise."""
    places = np.random.default_rng(0)
    opening, ending = (places.normal(size=(len(TASKS), width)) for width in widths(FAMILY))
    rng = np.random.default_rng(seed)
    noisy = [x[task] + 0.3 * rng.normal(size=x[task].shape) for x in (opening, ending)]
    return Demonstrations(hp.family("metaworld"), TASKS[task], *noisy)


@pytest.fixture(scope="module")
def zoo() -> Zoo:
    rng = np.random.default_rng(1)
    finals = rng.normal(scale=0.3, size=(len(TASKS), SPEC.size))
    expert = np.repeat(np.arange(len(TASKS)), 5)
    return Zoo(
        spec=SPEC,
        family=hp.family("metaworld"),
        weights=(finals[expert] + 0.02 * rng.normal(size=(20, SPEC.size))).astype(np.float32),
        expert=expert,
        updates=np.tile(np.arange(5), len(TASKS)),
        final=np.tile(np.arange(5) == 4, len(TASKS)),
        returns=np.full(20, np.nan, np.float32),
        contexts=TASKS,
        states=rng.normal(size=(len(TASKS), 32, 39)).astype(np.float32),
    )


@pytest.fixture(scope="module")
def lesson(zoo) -> Lesson:
    """Two demonstrations a row."""
    rows = np.repeat(np.arange(20), 2)
    demos = shown(zoo.expert[rows], seed=2)
    embedding = demonstration.fit_embedding(EMBEDDING, demos)
    return demonstration.lesson(zoo, demos, rows, embedding)


@pytest.fixture(scope="module")
def hyplatents(lesson):
    return fit_seeds(GAN, lesson, (0, 3))


def assert_tasks_are_told(generator, zoo) -> None:
    """A policy written for an unseen demonstration is nearest to an expert of its task."""
    task = np.tile(np.arange(len(TASKS)), 5)
    made = generator.generate(shown(task, seed=9), seed=1)
    finals = zoo.finals.weights
    gaps = np.linalg.norm(made.weights[:, None] - finals[None], axis=2)
    assert (gaps.argmin(axis=1) == task).all()
    assert gaps[np.arange(len(task)), task].mean() < 0.5 * gaps.mean()


def test_hyplatent_writes_what_a_demonstration_shows(hyplatents, zoo):
    for generator in hyplatents:
        assert_tasks_are_told(generator, zoo)
    weights = [g.generate(shown(np.arange(4), 9)).weights for g in hyplatents]
    assert (weights[0] != weights[1]).any() and [g.provenance["seed"] for g in hyplatents] == [0, 3]


@pytest.mark.slow
def test_hypformer_goes_on_from_hyplatents(hyplatents, lesson, zoo):
    made = hypformer.fit(FORMER, hyplatents, lesson)
    for generator in made:
        assert_tasks_are_told(generator, zoo)
    assert made[1].provenance["seed"] == 3


@pytest.mark.slow
def test_make_an_agent_writes_what_a_demonstration_shows(lesson, zoo):
    generator = fit(DIFFUSION, lesson)
    assert_tasks_are_told(generator, zoo)


def test_a_policy_is_distilled_that_reads_demonstrations(lesson, zoo):
    """Every expert is cloned on its own observations, told by any demonstration of its task."""
    generator = fit(DistillConfig(steps=1500, rate=1e-2), lesson)
    task = np.arange(len(TASKS))
    made = generator.generate(shown(task, seed=9))
    acted, wanted = made.act(zoo.states), zoo.finals.act(zoo.states)
    swapped = made[np.roll(task, 1)].act(zoo.states)
    assert np.abs(acted - wanted).mean() < 0.3 * np.abs(swapped - wanted).mean()


@pytest.mark.slow
def test_only_the_opening_may_be_told(lesson, zoo):
    embedding = lesson.reader.embedding
    short = demonstration.lesson(lesson.zoo, lesson.given, lesson.rows, embedding, "opening")
    assert short.reader.size == 8 and lesson.reader.size == 16
    generator = fit(GAN, short)
    assert_tasks_are_told(generator, zoo)
    demos = shown(np.arange(4), 9)
    blind = replace(demos, ending=np.zeros_like(demos.ending))
    np.testing.assert_array_equal(
        generator.generate(demos).weights, generator.generate(blind).weights
    )


def test_conditions_of_training_rows_fill_the_range(lesson):
    conditions = np.asarray(pairs(lesson, False).conditions)
    np.testing.assert_allclose(conditions.min(axis=0), -1.0, atol=1e-5)
    np.testing.assert_allclose(conditions.max(axis=0), 1.0, atol=1e-5)


def test_each_policy_depends_on_its_own_demonstration(hyplatents):
    demos = shown(np.arange(4), 9)
    opening = demos.opening.copy()
    opening[2] += 1.0
    one, two = (
        hyplatents[0].generate(d, seed=5).weights for d in (demos, replace(demos, opening=opening))
    )
    assert (one[2] != two[2]).any()
    np.testing.assert_array_equal(np.delete(one, 2, axis=0), np.delete(two, 2, axis=0))


@pytest.mark.slow
def test_saved_and_loaded_generators_write_the_same(hyplatents, lesson, tmp_path):
    (former,) = hypformer.fit(replace(FORMER, steps=3), hyplatents[:1], lesson)
    agent = fit(replace(DIFFUSION, steps=3), lesson)
    demos = shown(np.arange(4), 9)
    for i, generator in enumerate([hyplatents[0], former, agent]):
        again = hp.load(generator.save(tmp_path / str(i)))
        np.testing.assert_array_equal(
            again.generate(demos, seed=2).weights, generator.generate(demos, seed=2).weights
        )
        assert again.takes is Demonstrations


@pytest.mark.slow
def test_killed_fits_are_found_again(lesson, tmp_path):
    out = tmp_path / "fit"
    first = fit(replace(GAN, steps=3), lesson, out=out)
    again = hp.load(out)
    demos = shown(np.arange(4), 9)
    np.testing.assert_array_equal(first.generate(demos).weights, again.generate(demos).weights)


# --- Bad input ----------------------------------------------------------------------------
def test_contexts_and_demonstrations_are_not_mistaken_for_one_another(hyplatents, zoo):
    with pytest.raises(BadContext, match="reads demonstrations, not contexts; give"):
        hyplatents[0].generate(TASKS)
    plain = lookup.nearest(zoo)
    with pytest.raises(BadContext, match="reads contexts, not demonstrations"):
        plain.generate(shown(np.arange(4), 9))


def test_what_does_not_belong_together_is_refused(hyplatents, lesson):
    other = jax.tree.map(lambda leaf: leaf + 1.0, lesson.reader)
    with pytest.raises(BadZoo, match="with another embedding"):
        hypformer.fit(FORMER, hyplatents, lesson._replace(reader=other))
    with pytest.raises(BadZoo, match="give the row each one tells of"):
        fit(GAN, lesson._replace(rows=lesson.rows[:3]))
    with pytest.raises(BadZoo, match="row 0 of the demonstrations is of another task"):
        fit(GAN, lesson._replace(rows=lesson.rows[::-1].copy()))
    with pytest.raises(BadZoo, match="fitted on HypLatents"):
        agent = fit(replace(DIFFUSION, steps=3), lesson)
        hypformer.fit(FORMER, [agent], lesson)
