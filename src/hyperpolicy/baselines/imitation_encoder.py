"""The imitation encoder: a policy that guesses what task it is in from its own last step.

    q(z | s₋, a₋) = N(μ, σ²),  [s₋; a₋] → h → h → μ, log σ²      the step before this one
    π̂(s, z) = tanh(W₂ ReLU(W₁ [e(z); s]))                         e HyperZero's embedding
    L = E[(π̂(s, z̃) − a*)²] + w_kl E[KL(q ‖ N(0, I))],  z̃ = μ + σ ε

A baseline of Rezaei-Shoshtari et al. (2023), arXiv:2211.15457, which calls it PEARL. PEARL (Rakelly
et al. 2019) it is not: it sees no reward, pools no steps, and clones experts. With the published
sizes the encoder has 203,520 numbers on the cheetah's speeds, the policy 475,334. It is told no
context and no demonstration. Paper versus released code, and departures, besides D2 … D6 of
`cloning`, from whose data it learns:
  D1  the encoder never sees the action that is to be predicted; the code gives it that very one
      while training, and the step before when it acts;
  D2  its memory is empty at the start of every episode, in training too; the code's is kept from
      one episode to the next;
  D3  it acts by z = μ; the code draws z̃ anew at every step;
  D4  it is trained by the loss as it stands; the code wraps MAML's inner steps around it, and
      cannot run as it was released: its loader fails, and the encoder is not saved.
What is empty is a step of zeros: the mean observation, for observations are normalized, and no
action.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int
from msgspec import Struct

from hyperpolicy import headers
from hyperpolicy.bounds import Bounded, Count, Rate, Weight
from hyperpolicy.envs import Family
from hyperpolicy.envs import read as read_family
from hyperpolicy.errors import BadFile, BadShape
from hyperpolicy.generate import behavior, loop
from hyperpolicy.generate.behavior import Moments, Rows
from hyperpolicy.generate.writers.conditioned_clone import ConditionedCloneConfig, ToldNet
from hyperpolicy.nets.mlp import Linear, Mlp
from hyperpolicy.nets.orthogonal import orthogonal
from hyperpolicy.nets.policy import PolicySpec, act
from hyperpolicy.policies import Actor
from hyperpolicy.provenance import library_versions
from hyperpolicy.types import Key, Scalar
from hyperpolicy.zoo import Zoo

Format = Literal["hyperpolicy-imitation-encoder-1"]
FORMAT: Format = "hyperpolicy-imitation-encoder-1"


# --- Config -------------------------------------------------------------------------------
@dataclass(frozen=True)
class ImitationEncoderConfig(Bounded):
    hidden: Count = 64
    """Units h of each hidden layer, the encoder's and the policy's (published: 256)."""
    embed: Count = 64
    """Numbers of z, and of its embedding (published: 256)."""
    kl: Weight = 0.01
    """w_kl."""
    steps: Count = 20_000
    """Gradient steps."""
    batch: Count = 512
    """Rows a step, equally many of each context."""
    contexts: Count = 16
    """Contexts a step at most, drawn anew; where there are fewer, all."""
    rate: Rate = 1e-3
    """Adam step size at the start; a cosine takes it to 0 (published: 1e-4, constant)."""
    episodes: Count = 10
    """Deterministic episodes of each expert."""
    name: ClassVar[str] = "imitation-encoder"

    @property
    def policy(self) -> ConditionedCloneConfig:
        """The settings of the conditioned policy, which is told z in a context's place."""
        sizes = {"hidden": self.hidden, "embed": self.embed, "episodes": self.episodes}
        return ConditionedCloneConfig(**sizes, value=0.0, td=0.0)


# --- Networks -----------------------------------------------------------------------------
class EncoderNet(eqx.Module):
    """[s₋; a₋] → μ, log σ²; and the policy that is told z."""

    trunk: Mlp
    mean: Linear
    log_var: Linear
    told: ToldNet

    @classmethod
    def init(cls, cfg: ImitationEncoderConfig, spec: PolicySpec, key: Key) -> "EncoderNet":
        """Fresh networks: orthogonal weights, biases 0."""
        keys, (h, e) = jax.random.split(key, 5), (cfg.hidden, cfg.embed)
        trunk = Mlp.init([spec.obs + spec.action, h, h], keys[0])
        heads = (Linear.init(h, e, own) for own in keys[1:3])
        trunk, mean, log_var = orthogonal((trunk, *heads), keys[3])
        return cls(trunk, mean, log_var, ToldNet.init(cfg.policy, spec, e, keys[4]))

    def guess(self, before: "Before") -> tuple[Float[Array, " e"], Float[Array, " e"]]:
        """μ and log σ² of q(z | s₋, a₋)."""
        x = jax.nn.relu(self.trunk(jnp.concatenate(before)))
        return self.mean(x), self.log_var(x)

    def act(self, z: Float[Array, " e"], obs: Float[Array, " o"]) -> Float[Array, " a"]:
        """π̂(s, z)."""
        return act(self.told(z)[0], obs)


class Before(NamedTuple):
    """The last step, zeros where there is none; observations are normalized."""

    obs: Float[Any, "*x o"]
    action: Float[Any, "*x a"]


def before(rows: Rows) -> Before:
    """The step before each row."""
    first = starts(rows)[..., None]
    one_back = (jnp.where(first, 0.0, jnp.roll(x, 1, axis=1)) for x in (rows.obs, rows.action))
    return Before(*one_back)


def starts(rows: Rows) -> Bool[Array, "x k"]:
    """Which rows begin an episode: they do not see what the row before led to, number for number,
    or that one ended the task. Rows of one context stand in the order in which they were made."""
    goes_on = (rows.obs[:, 1:] == rows.next_obs[:, :-1]).all(axis=-1) & (rows.ended[:, :-1] == 0)
    return jnp.concatenate([jnp.ones_like(goes_on[:, :1]), ~goes_on], axis=1)


# --- Losses -------------------------------------------------------------------------------
def divergence(mean: Float[Array, " e"], log_var: Float[Array, " e"]) -> Scalar:
    """KL(N(μ, σ²) ‖ N(0, I)) = ½ Σ (μ² + σ² − 1 − log σ²)."""
    return 0.5 * jnp.sum(mean**2 + jnp.exp(log_var) - 1.0 - log_var)


def losses(
    net: EncoderNet,
    past: Before,
    obs: Float[Array, "b o"],
    action: Float[Array, "b a"],
    noise: Float[Array, "b e"],
) -> dict[str, Scalar]:
    """E[(π̂(s, μ + σ ε) − a*)²] and E[KL(q ‖ N(0, I))]."""

    def one(past, obs, action, noise):
        mean, log_var = net.guess(past)
        z = mean + jnp.exp(0.5 * log_var) * noise
        return jnp.mean((net.act(z, obs) - action) ** 2), divergence(mean, log_var)

    gap, kl = jax.vmap(one)(past, obs, action, noise)
    return {"loss/action": gap.mean(), "loss/kl": kl.mean()}


# --- Training -----------------------------------------------------------------------------
class Lived(NamedTuple):
    """What experts of x contexts did, k steps each."""

    obs: Float[Array, "x k o"]
    action: Float[Array, "x k a"]
    past: Before


def fit(config: ImitationEncoderConfig, zoo: Zoo, seed: int = 0) -> "ImitationEncoder":
    """The imitation encoder of a zoo's experts; errors as `fit_seeds`."""
    return fit_seeds(config, zoo, (seed,))[0]


def fit_seeds(
    config: ImitationEncoderConfig, zoo: Zoo, seeds: Sequence[int]
) -> list["ImitationEncoder"]:
    """One imitation encoder for each seed, trained side by side; a seed whose numbers stop being
    finite is left out, with a warning.

    Raises:
        BadZoo: a zoo that cannot be trained on.
        BadSetting: a seed that is none, or numbers of every seed stopped being finite.
    """
    spec = config.policy.spec(zoo)
    told = config.policy
    data = behavior.rollouts(told.lesson(zoo), told.episodes, told.discount, told.values)
    lived = Lived(data.rows.obs, data.rows.action, before(data.rows))
    run = loop.FitJob(config.name, tuple(seeds), config.steps, None, {})
    made = []
    for n, net in train(config, run, lived, spec).items():
        record = {"config": asdict(config), "seed": run.seeds[n], "versions": library_versions()}
        about = record | {"zoo": zoo.provenance}
        made.append(ImitationEncoder(zoo.family, net, Moments(*data.moments), about))
    return made


def train(
    cfg: ImitationEncoderConfig, run: loop.FitJob, data: Lived, spec: PolicySpec
) -> dict[int, EncoderNet]:
    """The networks of each seed that lived."""
    x = len(data.obs)
    num = min(cfg.contexts, x)
    each = max(1, cfg.batch // num)
    tx = optax.adam(optax.cosine_decay_schedule(cfg.rate, cfg.steps))

    def init(key):
        net = EncoderNet.init(cfg, spec, key)
        return net, tx.init(net)

    def loss(net, rows: Lived, noise):
        parts = losses(net, rows.past, rows.obs, rows.action, noise)
        return parts["loss/action"] + cfg.kl * parts["loss/kl"], parts

    def step(state, key, i, own, data: Lived):
        net, adam = state
        key_rows, key_noise = jax.random.split(key)
        rows = draw(data, num, each, key_rows)
        noise = jax.random.normal(key_noise, (num * each, cfg.embed))
        (_, parts), grads = jax.value_and_grad(loss, has_aux=True)(net, rows, noise)
        updates, adam = tx.update(grads, adam)
        return (optax.apply_updates(net, updates), adam), parts

    fits = loop.learn(run, init, step, None, data)
    return fits.living(fits.state[0])


def draw(data: Lived, num: int, each: int, key: Key) -> Lived:
    """`each` rows of each of `num` contexts, drawn anew, on one axis."""
    key_contexts, key_rows = jax.random.split(key)
    x, k = data.obs.shape[:2]
    here = jax.random.permutation(key_contexts, x)[:num, None]
    rows = jax.random.randint(key_rows, (num, each), 0, k)
    return jax.tree.map(lambda leaf: leaf[here, rows].reshape(num * each, -1), data)


# --- Who acts -----------------------------------------------------------------------------
@dataclass(frozen=True)
class ImitationEncoder(Actor):
    """Acts on the observation and on what its own last step says of the task; every policy of a
    rollout is this one. Its memory is its last step."""

    column: ClassVar[str] = "its own last step"
    """What the column "given" of a table says about it."""
    family: Family
    net: EncoderNet
    moments: Moments
    provenance: dict = field(default_factory=dict)

    def start(self, n: int, e: int) -> Before:
        shapes = ((n, e, self.family.obs_size), (n, e, self.family.action_size))
        return Before(*(np.zeros(shape, np.float32) for shape in shapes))

    def act(self, carry: Before, obs, key):
        """Raises BadShape: observations of another family."""
        if obs.shape[-1] != self.family.obs_size:
            raise BadShape(
                f"observations have {obs.shape[-1]} numbers; this encoder was fitted on "
                f"{self.family.name}, which has {self.family.obs_size}"
            )
        seen, action = _act(self.net, self.moments, carry, jnp.asarray(obs, jnp.float32))
        carry = Before(np.asarray(seen), np.asarray(action))
        return carry.action, carry

    def observe(self, carry: Before, step) -> Before:
        """Empty where an episode ended."""
        ended = np.asarray(step.terminated | step.truncated)[..., None]
        return Before(*(np.where(ended, np.float32(0), x) for x in carry))

    def take(self, rows: Int[np.ndarray, " k"]) -> "ImitationEncoder":
        return self

    def save(self, path: str | Path) -> Path:
        """Write one safetensors file; an existing file is an error."""
        hidden, embed = self.net.mean.weight.shape
        family = self.family.record()
        header = ImitationEncoderHeader(FORMAT, family, hidden, embed, self.provenance)
        return headers.save_arrays(path, _named((self.net, self.moments)), header)

    @classmethod
    def load(cls, path: str | Path) -> "ImitationEncoder":
        """The imitation encoder in a file.

        Raises:
            BadFile: it holds none, is damaged, or holds numbers that are not finite.
        """
        arrays, header = headers.load_arrays(path, ImitationEncoderHeader, ())
        family = read_family(header.family)
        spec = PolicySpec(family.obs_size, family.action_size, (header.hidden,), ("relu",))
        cfg = ImitationEncoderConfig(hidden=header.hidden, embed=header.embed)
        o = jax.ShapeDtypeStruct((spec.obs,), np.float32)
        net = jax.eval_shape(partial(EncoderNet.init, cfg, spec), jax.random.key(0))
        like = net, Moments(o, o)
        wanted = {name: leaf.shape for name, leaf in _named(like).items()}
        if wanted != {name: x.shape for name, x in arrays.items()}:
            raise BadFile(f"{path} does not fit its header; it is damaged, or of another version")
        leaves = [arrays[name] for name in wanted]
        net, moments = jax.tree.unflatten(jax.tree.structure(like), leaves)
        return cls(family, net, moments, header.provenance)


class ImitationEncoderHeader(Struct, frozen=True):
    """Of a file of an imitation encoder."""

    format: Format
    family: headers.Record
    hidden: headers.Size
    embed: headers.Size
    provenance: headers.Record


def _named(tree) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


@jax.jit
def _act(net: EncoderNet, moments: Moments, carry: Before, obs: Float[Array, "n e o"]):
    """The observations as they are normalized, and the actions [n,e,a]."""

    def one(past, obs):
        seen = (obs - moments.mean) * moments.scale
        return seen, net.act(net.guess(past)[0], seen)

    return jax.vmap(jax.vmap(one))(carry, obs)
