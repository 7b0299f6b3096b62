"""How data are made and methods fitted, on two cores or as published, and what a table is of."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from tyro.conf import Suppress

from hyperpolicy.baselines.decision_transformer import DecisionConfig
from hyperpolicy.baselines.macaw import MacawConfig
from hyperpolicy.baselines.pearl import PearlConfig
from hyperpolicy.bounds import Bounded, Count, Names, Place, Weight, Whole
from hyperpolicy.errors import BadSetting
from hyperpolicy.fleet import OffPolicy, OnPolicy, Plan, RoundSchedule, Schedule
from hyperpolicy.generate.prompt import PromptReaderConfig
from hyperpolicy.generate.writers.hyplatent import HypLatentConfig
from hyperpolicy.recipes.zero_shot import presets as zero_shot
from hyperpolicy.recipes.zero_shot.presets import SpecializedPreset
from hyperpolicy.rl.ppo import PpoConfig
from hyperpolicy.rl.sac import SacConfig

TARGETS = {"cheetah-vel": 0.0, "ant-dir": 500.0, "ant-dir-endless": 1000.0}
"""Return that a Decision Transformer is asked for; published: 0 and 500."""


@dataclass(frozen=True)
class Preset(Bounded):
    """Sizes and lengths."""

    experts: dict[str, Plan]
    """How the independent experts of a family are trained."""
    episodes: Count
    """Of each stage of each expert's training, that are kept."""
    decision: DecisionConfig
    macaw: MacawConfig
    pearl: PearlConfig
    reader: PromptReaderConfig
    hyplatent: HypLatentConfig
    generators: SpecializedPreset | None = None
    """How the zoos of generators are trained; the family's own way unless given."""
    online_steps: Count = 20_000
    """Environment steps of fine-tuning on each test task."""


PPO_EXPERTS = OnPolicy(
    PpoConfig(value_hidden=(64, 64), discount=0.97),
    RoundSchedule(
        num_rounds=400, num_envs=16, round_steps=64, num_checkpoints=20, checkpoints_from=0.0
    ),
)
EXPERTS: dict[str, Plan] = dict.fromkeys(("cheetah-vel", "ant-dir", "ant-dir-endless"), PPO_EXPERTS)
SMALL = Preset(
    experts=EXPERTS,
    episodes=10,
    decision=DecisionConfig(width=64, each=4, dropout=0.0, steps=6_000, rate=1e-3, horizon=200),
    macaw=MacawConfig(
        width=64, latent=16, every=1, steps=40_000, policy_rate=3e-4, value_rate=3e-4
    ),
    pearl=PearlConfig(width=128, encoder_width=64, tasks=8, batch=128, steps=20_000),
    reader=PromptReaderConfig(),
    hyplatent=HypLatentConfig(steps=5_000),
)
PAPER = replace(
    SMALL,
    episodes=100,
    decision=DecisionConfig(tasks=64),
    macaw=MacawConfig(steps=480_000),
    pearl=PearlConfig(steps=500_000),
)
TINY_EXPERTS = OffPolicy(
    SacConfig(hidden=(8, 8)),
    Schedule(
        num_updates=8,
        num_envs=1,
        updates_per_step=4,
        batch=8,
        fill_steps=2,
        episodes=1,
        num_checkpoints=2,
        checkpoints_from=0.0,
        num_evaluations=1,
        num_states=8,
    ),
)
SMOKE = Preset(
    experts=dict.fromkeys(EXPERTS, TINY_EXPERTS),
    episodes=2,
    decision=DecisionConfig(width=8, layers=1, each=2, steps=4, horizon=200),
    macaw=MacawConfig(width=4, latent=2, head=2, every=5, inner_batch=8, outer_batch=8, steps=3),
    pearl=PearlConfig(width=8, encoder_width=8, tasks=2, context=8, batch=8, steps=3),
    reader=PromptReaderConfig(hidden=8, steps=5, batch=8),
    hyplatent=HypLatentConfig(steps=3),
    generators=zero_shot.SMOKE,
    online_steps=400,
)
PRESETS = {"smoke": SMOKE, "small": SMALL, "paper": PAPER}


@dataclass(frozen=True)
class MetaRlConfig(Bounded):
    """What is compared, and how long."""

    out: Place = Path("runs/meta-rl")
    """Experts, data, fits and cells; the same command goes on from what is there."""
    zoos: Path = Path("zoos")
    """Zoos of the generators, in a directory for each family; missing ones are trained below
    `out`."""
    families: Names = ("cheetah-vel", "ant-dir")
    """Task families."""
    splits: Names = ("full", "sixteenth", "extrapolation")
    """Splits of each grid."""
    rows: Names | None = None
    """Methods by the names of their rows; all unless given."""
    pipelines: Count = 1
    """Trainings from nothing, data and all, of each cell of the split `full`; other splits have
    one."""
    first: Whole = 0
    """Number of the first pipeline."""
    minutes: Weight = 10_000.0
    """After which nothing new is begun; the same call goes on."""
    preset: Literal["smoke", "small", "paper"] = "small"
    """Sizes and lengths."""
    grid: Suppress[str] = ""
    """Of contexts; the family's usual one unless given."""
    episodes: Suppress[Count | None] = None
    """Episodes of each test task; the usual number unless given."""

    def __post_init__(self):
        super().__post_init__()
        for name in self.families:
            if name not in EXPERTS:
                raise BadSetting(
                    f"no experts of {name!r} are planned; families: {', '.join(EXPERTS)}"
                )

    @property
    def sizes(self) -> Preset:
        """The preset."""
        return PRESETS[self.preset]
