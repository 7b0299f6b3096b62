"""How much of Meta-World's data there is, how large AMT-Hyp's generators are and how they are
judged: for two cores, as published, and for tests."""

from dataclasses import dataclass, field, replace
from typing import Literal

from hyperpolicy.baselines.decision_transformer import DecisionConfig
from hyperpolicy.bounds import Bounded, Count, Seeds, Weight, Whole
from hyperpolicy.data.demonstrations import Layout
from hyperpolicy.fleet import OnPolicy, RoundSchedule
from hyperpolicy.generate.behavior_embedding import BehaviorEmbeddingConfig
from hyperpolicy.generate.codecs import AutoencoderConfig, PcaConfig
from hyperpolicy.generate.writers.conditioned import DistillConfig
from hyperpolicy.generate.writers.hypformer import HypFormerConfig
from hyperpolicy.generate.writers.hyplatent import HypLatentConfig
from hyperpolicy.generate.writers.make_an_agent import MakeAnAgentConfig
from hyperpolicy.nets.unet1d import Unet1dConfig
from hyperpolicy.rl.ppo import PpoConfig


@dataclass(frozen=True)
class DataPreset(Bounded):
    """How long experts train, what is kept of them, and how much is shown."""

    clone: DistillConfig = field(default_factory=lambda: DistillConfig(steps=10_000))
    """One fit of the base."""
    one_start: bool = True
    """Whether all experts begin as one policy that is told its task; if not, each as a clone of its
    own script, from a start of its own."""
    fits: Count = 4
    """Fits of the base; each after the first also sees states that the one before reached."""
    expert: OnPolicy = field(
        default_factory=lambda: OnPolicy(
            PpoConfig(
                hidden=(128, 128),
                activations=("elu", "relu"),
                value_hidden=(128, 128),
                warmup_rounds=6,
            ),
            RoundSchedule(
                num_rounds=80,
                num_envs=8,
                round_steps=125,
                average_from=0.25,
                num_checkpoints=60,
                num_evaluations=8,
            ),
        )
    )
    """How experts train."""
    prior_steps: Count = 1_000
    """Of each world in which a scripted policy shows the base what to do."""
    noise: Weight = 0.3
    """Standard deviation of the noise on scripted policies' actions."""
    gate_episodes: Count = 4
    """A checkpoint is kept if it succeeds in all of these."""
    shown: Count = 2
    """Episodes from which a row's demonstrations are cut, for training."""
    shown_task: Count = 1
    """Least episodes of a task from which they are cut: a task of few rows has more a row."""
    test: Count = 100
    """Demonstrations a task, for testing."""
    shown_steps: Count = 500
    """Steps of an episode that is shown; a success that comes later shows nothing."""
    tested: tuple[Literal["seen", "unseen"], ...] = ("seen", "unseen")
    """Of which tasks there are test demonstrations."""
    layouts: tuple[Layout, ...] = ("opening",)
    """How demonstrations are cut; the opening first."""


SMALL_DATA = DataPreset()
PAPER_DATA = DataPreset(
    expert=replace(
        SMALL_DATA.expert,
        schedule=replace(
            SMALL_DATA.expert.schedule, num_rounds=700, average_from=0.285, num_checkpoints=500
        ),
    )
)
"""500 checkpoints a task, as the papers have."""
SMOKE_DATA = DataPreset(
    clone=DistillConfig(steps=5, batch=8),
    fits=2,
    expert=OnPolicy(
        PpoConfig(
            hidden=(8, 8),
            activations=("elu", "relu"),
            value_hidden=(8, 8),
            minibatches=2,
            epochs=1,
        ),
        RoundSchedule(
            num_rounds=2,
            num_envs=2,
            round_steps=4,
            num_checkpoints=2,
            num_evaluations=1,
            episodes=1,
            num_states=8,
            average_from=0.0,
        ),
    ),
    prior_steps=20,
    gate_episodes=1,
    shown=1,
    test=3,
)
"""Seconds, where episodes are short; for tests."""


@dataclass(frozen=True)
class Preset(Bounded):
    """Sizes and lengths of everything that is fitted."""

    data: DataPreset = field(default_factory=DataPreset)
    embedding: BehaviorEmbeddingConfig = field(default_factory=BehaviorEmbeddingConfig)
    hyplatent: HypLatentConfig = field(
        default_factory=lambda: HypLatentConfig(noise=128, encoder=PcaConfig(components=64))
    )
    hypformer: HypFormerConfig = field(
        default_factory=lambda: HypFormerConfig(dropout=0.0, layer_dropout=0.0, steps=4_000)
    )
    """Without dropout: what it costs at this size is said in docs/amt-hyp.md."""
    counted: HypFormerConfig = field(
        default_factory=lambda: HypFormerConfig(
            heads=8, dropout=0.0, layer_dropout=0.0, batch=16, steps=500
        )
    )
    """Of the curve over numbers of tokens, up to 512, which takes a fit for each."""
    make_an_agent: MakeAnAgentConfig = field(
        default_factory=lambda: MakeAnAgentConfig(encoder=PcaConfig(components=64))
    )
    distill: DistillConfig = field(default_factory=DistillConfig)
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    """Of the row that decodes experts by an autoencoder, beside the one by HypLatent's encoder."""
    shipped_embedding: BehaviorEmbeddingConfig = field(
        default_factory=lambda: BehaviorEmbeddingConfig(opening_hidden=(256, 256))
    )
    shipped: HypLatentConfig = field(
        default_factory=lambda: HypLatentConfig(noise=128, encoder=PcaConfig(components=32))
    )
    """A HypLatent of its own, small enough for the package, and what it reads with."""
    decision: DecisionConfig = field(
        default_factory=lambda: DecisionConfig(
            width=64,
            context=8,
            piece_steps=23,
            where="start",
            target=2_000.0,
            scale=2_000.0,
            horizon=500,
            each=8,
            steps=4_000,
            rate=1e-3,
        )
    )
    """Of Prompt-DT, whose prompt is the demonstration: 20 blocks and three states."""
    episodes: Count = 6
    """Of each final expert, that Prompt-DT learns from."""
    seeds: Seeds = (0, 1, 2)
    """Fits of each method."""
    policies: Count = 100
    """Policies a task and seed, one a demonstration."""
    configurations: Count = 3
    """In which each of them plays, until its first success."""
    choosing: Whole = 1
    """Other configurations, in which the best policies are chosen."""
    released: bool = True
    """Whether the released scripts' evaluation is made, too."""
    seldom: Count = 20
    """Policies a task of rows that take long to play."""
    elsewhere: Count = 20
    """Episodes of each expert on each task that it was not trained for."""


_AUTOENCODER = AutoencoderConfig(dim=1024, steps=327_670)
_HYPFORMER = HypFormerConfig(width=256, heads=128, ff=2048, batch=128, steps=90_000)
PAPER = Preset(
    data=PAPER_DATA,
    embedding=BehaviorEmbeddingConfig(batch=16, steps=81_910),
    hyplatent=HypLatentConfig(
        encoder=_AUTOENCODER,
        generator_hidden=(1024, 512, 256),
        discriminator_hidden=(1024, 1024, 512),
        noise=128,
        batch=128,
        steps=150_000,
    ),
    hypformer=_HYPFORMER,
    counted=_HYPFORMER,
    make_an_agent=MakeAnAgentConfig(encoder=_AUTOENCODER, net=Unet1dConfig(), steps=40_950),
    autoencoder=_AUTOENCODER,
)
"""Published sizes, for a GPU; steps are about the published epochs on 4,000 rows, ending cycles."""
PRESETS = {"small": Preset(), "paper": PAPER}
"""For two cores, and as published."""
