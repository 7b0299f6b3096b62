"""The encoders of weights behind one door: weights [p] ⇄ latent [z], fitted per seed."""

from pathlib import Path

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hyperpolicy import files
from hyperpolicy.generate import autoencoder, loop, pca
from hyperpolicy.generate.autoencoder import Autoencoder, AutoencoderConfig, ScaledCoder
from hyperpolicy.generate.pca import Pca, PcaConfig
from hyperpolicy.nets.policy import PolicySpec
from hyperpolicy.zoo import Zoo

Encoder = Pca | Autoencoder | ScaledCoder
EncoderConfig = PcaConfig | AutoencoderConfig


def fit(config: EncoderConfig, zoo: Zoo, seeds: tuple[int, ...], out: Path | None) -> Encoder:
    """One encoder per seed, from all rows of `zoo`; every leaf leads with axis n."""
    if isinstance(config, AutoencoderConfig):
        return autoencoder.fit(config, zoo, seeds, out and out / loop.ENCODER)
    fitted = pca.fit(config, zoo.weights)  # without randomness: the same for every seed
    return jax.tree.map(lambda leaf: jnp.stack([leaf] * len(seeds)), fitted)


def encode_rows(encoder: Encoder, weights: Float[Array, "r p"]) -> Float[Array, "r z"]:
    """The latents of many policies."""
    return jax.vmap(encoder.encode)(weights)


def settings(encoder: Encoder) -> dict:
    """What `blank` needs to know of one encoder, as JSON."""
    if isinstance(encoder, Autoencoder):
        return {"encoder": "autoencoder", "dim": encoder.coder.scale.shape[0]}
    if isinstance(encoder, ScaledCoder):
        return {"encoder": "scaled", "dim": encoder.coder.scale.shape[0]}
    return {"encoder": "pca", "components": encoder.size}


def blank(settings: dict, spec: PolicySpec) -> Encoder:
    """The shapes of an encoder with these settings."""
    if settings["encoder"] == "autoencoder":
        return autoencoder.blank(spec, settings["dim"])
    if settings["encoder"] == "scaled":
        return autoencoder.blank_scaled(spec, settings["dim"])
    return pca.blank(settings["components"], spec.size)


def save(encoder: Encoder, path: Path) -> Path:
    """Write one encoder as one file, instead of an older one."""
    return files.save_tree(path, encoder, settings(encoder), overwrite=True)


def load(path: Path, spec: PolicySpec) -> Encoder:
    """The encoder that `save` wrote, of policies of `spec`.

    Raises:
        BadFile: there is none, or it is of other policies.
    """
    return files.load_tree(path, blank(files.read_meta(path), spec))[0]
