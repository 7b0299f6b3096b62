"""How large AMT-Hyp's generators are and how they are judged: for two cores, and as published."""

from dataclasses import dataclass, field

from hyperpolicy.bounds import Bounded, Count, Seeds
from hyperpolicy.generate.codecs.autoencoder import AutoencoderConfig
from hyperpolicy.generate.codecs.pca import PcaConfig
from hyperpolicy.generate.readers.behavior_embedding import BehaviorEmbeddingConfig
from hyperpolicy.generate.writers.conditioned import DistillConfig
from hyperpolicy.generate.writers.hypformer import HypFormerConfig
from hyperpolicy.generate.writers.hyplatent import HypLatentConfig
from hyperpolicy.generate.writers.make_an_agent import MakeAnAgentConfig
from hyperpolicy.nets.unet1d import Unet1dConfig
from hyperpolicy.recipes.amt_hyp import data_presets
from hyperpolicy.recipes.amt_hyp.data_presets import DataPreset


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
    seeds: Seeds = (0, 1, 2)
    """Fits of each method."""
    policies: Count = 100
    """Policies a task and seed, one a demonstration."""
    configurations: Count = 3
    """In which each of them plays, until its first success."""
    choosing: Count = 1
    """Other configurations, in which the best policies are chosen."""


SMALL = Preset()
"""Sizes for two cores."""
_AUTOENCODER = AutoencoderConfig(dim=1024, steps=327_670)
_HYPFORMER = HypFormerConfig(width=256, heads=128, ff=2048, batch=128, steps=90_000)
PAPER = Preset(
    data=data_presets.PAPER,
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
PRESETS = {"small": SMALL, "paper": PAPER}
