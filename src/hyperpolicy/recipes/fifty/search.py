"""What would make a generator read what it is shown? Changes of HypLatent's lesson, each beside the
same told another task; and what a written policy is worth as a start.

    apart         an embedding that tells a task's configurations apart, too
    blanked       demonstrations without where objects and goal are
    change        the generator writes what to add to the policy told the demonstration
    own starts    experts from as many different starts, as they are
    aligned       the same, their units brought into one order
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from hyperpolicy import fleet, rollout
from hyperpolicy.data.demonstrations import Demonstrations
from hyperpolicy.envs.metaworld import MetaWorld
from hyperpolicy.evaluate.tables import interval_text, markdown, number
from hyperpolicy.fleet import Start
from hyperpolicy.generate.align import align
from hyperpolicy.generate.behavior_embedding import contrastive_loss
from hyperpolicy.generate.fitting import fit_seeds
from hyperpolicy.generate.generator import Generator
from hyperpolicy.generate.lesson import Lesson
from hyperpolicy.generate.parts import row_keys
from hyperpolicy.generate.tune_config import GENTLE, TuneConfig
from hyperpolicy.policies import Policies
from hyperpolicy.recipes.amt_hyp.bench import STRICT_SEED, Bench, Method, Played, play
from hyperpolicy.recipes.amt_hyp.data import provide
from hyperpolicy.recipes.fifty import rows
from hyperpolicy.recipes.fifty.makers import Instead, another, blanked
from hyperpolicy.recipes.fifty.presets import FiftyPreset
from hyperpolicy.recipes.fifty.rows import WRONG
from hyperpolicy.recipes.fifty.study import lead, rate
from hyperpolicy.recipes.stage import record_once, timed

WHEN = ("before", "after")
SCORED = 10
"""Episodes of each score before and after."""


# --- Variants -----------------------------------------------------------------------------
def apart(b: Bench) -> list[Generator]:
    embedding = b.embedding_of("embedding-apart", b.preset.embedding, contrastive_loss)
    return _hyplatent(b, "hyplatent-apart", b.lesson(embedding=embedding))


def without_objects(b: Bench) -> list[Instead]:
    there = replace(b, data=b.data.told(blanked), out=b.out / "blanked")
    return [Instead(one, there.data.test) for one in rows.hyplatent(there, 1)]


@dataclass(frozen=True)
class Added:
    """What one generator writes, and what another one adds."""

    first: Generator
    second: Generator

    def generate(self, given: Demonstrations, seed: int = 0) -> Policies:
        both = (one.generate(given, seed).weights for one in (self.first, self.second))
        return Policies(sum(both), self.first.spec)  # type: ignore[arg-type]


def change(b: Bench) -> list[Added]:
    """On the conditioned policy, folded at each demonstration."""
    told, lesson = b.of_config("distilled", b.preset.distill)[0], b.lesson()
    assert isinstance(lesson.given, Demonstrations)
    zoo, own = lesson.zoo, lesson.rows
    gaps = zoo.weights[own] - told.model.vectors(lesson.given, row_keys(0, len(own)))
    expert = zoo.expert[own]
    first = np.array([np.flatnonzero(expert == x)[0] for x in range(len(zoo.contexts))])
    final = np.isin(np.arange(len(own)), first)
    other = replace(
        zoo,
        weights=gaps,
        expert=expert,
        updates=zoo.updates[own],
        returns=zoo.returns[own],
        final=final,
    )
    lesson = Lesson(other, lesson.given, np.arange(len(own)), lesson.reader)
    return [Added(told, one) for one in _hyplatent(b, "hyplatent-change", lesson)]


def own_starts(b: Bench, aligned: bool = False) -> list[Instead]:
    """Each expert cloned from its own script, from a start of its own."""
    place = b.out / "own-starts"
    data_preset = replace(b.preset.data, one_start=False)
    family, clock = b.data.zoo.family, place / "minutes.json"
    assert isinstance(family, MetaWorld)
    data = provide(data_preset, place / "data", family, clock, b.split, shown_in=b.family)
    if aligned:
        data, place = replace(data, zoo=align(data.zoo)), b.out / "aligned"
    there = replace(b, data=data, out=place)
    return [Instead(one, b.data.test) for one in rows.hyplatent(there, 1)]


def _hyplatent(b: Bench, name: str, lesson: Lesson) -> list[Generator]:
    fit = partial(fit_seeds, b.preset.hyplatent, lesson, b.preset.seeds[:1])
    return b.fitted(name, fit, fits=1)


VARIANTS: dict[str, Callable[[Bench], Sequence]] = {
    "HypLatent, as it is": partial(rows.hyplatent, fits=1),
    "embedding told apart by configuration": apart,
    "objects and goal blanked": without_objects,
    "change of the policy told the demonstration": change,
    "experts from different starts": own_starts,
    "experts from different starts, aligned": partial(own_starts, aligned=True),
}
"""By name."""


def misled(name: str, b: Bench) -> list[Instead]:
    wrong = another(np.unique(b.data.test.contexts, axis=0))
    return [Instead(maker, b.data.test, wrong) for maker in VARIANTS[name](b)]


def cells(
    b: Bench, half: str, names: Sequence[str], progress: Callable[[str], None]
) -> dict[str, Played]:
    """The cells of some variants, and of the same told another task."""
    found = {}
    for name in names:
        told = Method(f"search, {name}", VARIANTS[name])
        wrong = Method(f"search, {name}{WRONG}", partial(misled, name))
        found[name] = play(b, told, half, progress)
        found[name + WRONG] = play(b, wrong, half, progress)
    return found


def table(found: Mapping[str, Sequence[Played]]) -> str:
    """Variants: success told rightly and wrongly, and what the difference is."""
    header = ["change", "told rightly", "told another task", "lost", "95 % CI"]
    lines = []
    for name, played in found.items():
        if name + WRONG not in found:
            continue
        gap, interval = lead(played, found[name + WRONG])
        means = (number(rate(one).mean) for one in (played, found[name + WRONG]))
        lines.append([name, *means, number(gap), interval_text(interval)])
    return markdown(header, lines)


# --- Ten episodes online ------------------------------------------------------------------
def online(b: Bench, half: str) -> dict[str, dict[str, list[float]]]:
    """start → success before and after ten episodes of PPO in each task, task by task; the same
    configurations for all. The published fine-tuning is SAC's; it takes critics of actions and
    actors of ReLU layers, which these are not."""
    preset = b.preset
    assert isinstance(preset, FiftyPreset)
    count, contexts = preset.tuned, b.contexts(half)
    shown = [b.data.test.of(context)[:count] for context in contexts]
    tasks = np.repeat(contexts, count, axis=0)
    makers = {
        "generated": rows.ROWS["HypLatent"].fit(b)[0],
        "one expert": rows.one_expert(b)[0],
        "base, told nothing": rows.base_blind(b)[0],
    }

    def tried(maker) -> dict[str, list[float]]:
        weights = np.concatenate([maker.generate(demos).weights for demos in shown])
        start = Policies(weights, b.data.zoo.spec)
        steps = preset.tuned_episodes * b.family.horizon_steps
        config = TuneConfig(steps=steps, cfg=GENTLE["ppo"], evaluate_every=steps, episodes=1)
        plan = config.plan(start.spec, b.family.horizon_steps)
        tuned = fleet.train(plan, b.family, tasks, Start(start), seed=STRICT_SEED)
        pair = {"before": start, "after": tuned.finals}
        return {name: _by_task(b, who, tasks, len(contexts)) for name, who in pair.items()}

    def make() -> dict:
        return {name: tried(maker) for name, maker in makers.items()}

    return record_once(b.out / f"online-{half}.json", make, timed(b.minutes, "online"))


def _by_task(b: Bench, who: Policies, tasks, k: int) -> list[float]:
    share = rollout.success_rate(who, b.family, tasks, SCORED, STRICT_SEED)
    return (100.0 * share.reshape(k, -1).mean(axis=1)).tolist()


def online_table(found: Sequence[dict[str, dict[str, list[float]]]]) -> str:
    """Starts, before and after, over all benches."""
    lines = []
    for name in found[0]:
        before, after = (np.concatenate([one[name][when] for one in found]) for when in WHEN)
        lines.append([name, *(number(float(x.mean())) for x in (before, after))])
    return markdown(["start", "before", "after learning online"], lines)
