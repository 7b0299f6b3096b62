"""How much of fifty tasks' data there is, how large what is fitted, and how it is judged."""

from dataclasses import dataclass, replace

from hyperpolicy.bounds import Count
from hyperpolicy.generate.codecs import PcaConfig
from hyperpolicy.generate.writers.conditioned import DistillConfig
from hyperpolicy.generate.writers.hyplatent import HypLatentConfig
from hyperpolicy.generate.writers.make_an_agent import MakeAnAgentConfig
from hyperpolicy.recipes.amt_hyp.presets import SMALL_DATA, Preset

FOLDS = 5
"""Each leaves out ten tasks of fifty."""


@dataclass(frozen=True)
class FiftyPreset(Preset):
    """As AMT-Hyp's, and what is put beside."""

    tuned_episodes: Count = 10
    """Episodes of each policy that goes on learning online."""
    tuned: Count = 2
    """Policies a task that go on learning online, in eight worlds each."""


DATA = replace(
    SMALL_DATA,
    clone=DistillConfig(steps=20_000, batch=512),
    expert=replace(
        SMALL_DATA.expert,
        cfg=replace(
            SMALL_DATA.expert.cfg,
            first_rate=3e-5,
            max_rate=1e-4,
            target_kl=0.003,
            epochs=3,
            minibatches=4,
            first_log_std=-1.5,
        ),
        schedule=replace(
            SMALL_DATA.expert.schedule,
            num_rounds=24,
            num_envs=4,
            round_steps=250,
            num_checkpoints=20,
            num_evaluations=2,
        ),
    ),
    shown_task=40,
    shown_steps=250,
    layouts=("opening", "whole"),
)
"""24,000 steps of each task, so small that they do no harm (benchmarks/LOG.md); 200 worlds at once
take 10 GB."""
SMALL = FiftyPreset(
    data=DATA,
    hyplatent=HypLatentConfig(noise=128, encoder=PcaConfig(components=128)),
    make_an_agent=MakeAnAgentConfig(encoder=PcaConfig(components=128)),
    shipped=HypLatentConfig(noise=128, encoder=PcaConfig(components=64)),
    configurations=1,
    choosing=0,
    seeds=(0,),
    released=False,
    elsewhere=4,
)
"""One fit of each method: what varies most is the pipeline, and folds are such."""
TEN = replace(SMALL, seldom=SMALL.policies)
"""Ten tasks are tested, so that all rows can play in full."""
FOLD = replace(TEN, data=replace(DATA, tested=("unseen",)))
"""A fold is a pipeline of its own."""
