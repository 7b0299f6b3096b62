"""A policy for many tasks at tasks that it was not trained on.

What it knows of them is a sentence (CARE's), or nothing. A network that has numbers of a task's own
(a learned embedding, a head, mixing weights, an expert) has none for another task; PTSL acts there
with what its tasks share, S and s of every layer.
"""

from dataclasses import replace

import equinox as eqx
import jax.numpy as jnp

from hyperpolicy.errors import BadSetting
from hyperpolicy.nets.bronet import BroNetConfig
from hyperpolicy.nets.care import MixtureConfig
from hyperpolicy.nets.encoders import Encoder, Table
from hyperpolicy.nets.mlp import Mlp
from hyperpolicy.nets.multi_task import MultiTaskNet, MultiTaskSpec
from hyperpolicy.nets.ptsl import Ptsl, PtslConfig
from hyperpolicy.nets.soft_modules import SoftModulesOfMtrlConfig
from hyperpolicy.nets.trunks import Plain, PlainConfig


def specification(spec: MultiTaskSpec, tasks: int, language: Table = None) -> MultiTaskSpec:
    """Of the policy at `tasks` others, whose sentences are `language`, where it is told sentences.

    Raises:
        BadSetting: the network has numbers of a task's own, or there is no sentence a task.
    """
    told, body, trunk = spec.encoder.told, spec.encoder.body, spec.trunk
    if told not in ("none", "language"):
        raise BadSetting(
            f"a policy that is told its task by told={told!r} knows nothing of other tasks; one "
            "that is told a sentence, or nothing, can be tried there"
        )
    if isinstance(body, MixtureConfig) and body.mode in ("identity", "clusters"):
        raise BadSetting(f"mode={body.mode!r} has encoders of the trained tasks and of no others")
    if not isinstance(trunk, PlainConfig | PtslConfig | SoftModulesOfMtrlConfig | BroNetConfig):
        raise BadSetting(
            f"{type(trunk).__name__} has weights of the trained tasks and of no others; a plain "
            "network, PTSL and mtrl's soft modules can be tried on other tasks"
        )
    if told == "language" and (language is None or len(language) != tasks):
        there = 0 if language is None else len(language)
        raise BadSetting(f"{there} sentences for {tasks} tasks; give `language` one for each")
    if isinstance(trunk, PtslConfig):
        trunk = PlainConfig(trunk.hidden)
    encoder = replace(spec.encoder, language=language if told == "language" else None)
    return replace(spec, tasks=tasks, encoder=encoder, trunk=trunk)


def network(spec: MultiTaskSpec, net: MultiTaskNet) -> MultiTaskNet:
    """The same numbers as the policy `spec`, which `specification` made."""
    trunk = net.trunk
    if isinstance(trunk, Ptsl):
        trunk = Plain(Mlp([layer.shared for layer in trunk.layers]))
    return MultiTaskNet(_encoder(spec, net.encoder), trunk)


def _encoder(spec: MultiTaskSpec, encoder: Encoder) -> Encoder:
    if spec.encoder.language is None:
        return encoder
    rows = jnp.asarray(spec.encoder.language)
    return eqx.tree_at(lambda e: e.task.row.rows, encoder, rows)
