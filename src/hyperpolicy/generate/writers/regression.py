"""The simplest generator: a polynomial of the context, fitted to the experts' PCA coordinates.

    θ(c) = mean + normalizer⁻¹(φ(c) · C) · basis,  C = argmin Σ_i ‖φ(c_i) C − z_i‖² + n·ridge·‖C₁…‖²

φ(c) holds all monomials of the encoded context (bounds scaled to [−1, 1], angles as sine and
cosine) up to `degree`; the constant is not penalized. The seed of `generate` changes nothing.
"""

from dataclasses import asdict, dataclass
from itertools import combinations_with_replacement
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hyperpolicy.bounds import Size, Weight, Whole
from hyperpolicy.errors import BadSetting
from hyperpolicy.generate import codecs
from hyperpolicy.generate.codecs import Pca, PcaConfig
from hyperpolicy.generate.fitting import FitConfig, Places, Trainer, keep
from hyperpolicy.generate.generator import Generator
from hyperpolicy.generate.lesson import Lesson, of_zoo
from hyperpolicy.generate.parts import Frame
from hyperpolicy.zoo import Zoo

MAX_DEGREE = 5
"""Largest degree that the choice by leave-one-context-out considers."""


@dataclass(frozen=True)
class RegressionConfig(FitConfig):
    components: Size = 32
    """Principal components kept; fewer where there are fewer training rows."""
    degree: Whole | None = None
    """Degree of the polynomial; None chooses it by leaving out one training context at a time."""
    ridge: Weight = 1e-5
    """Penalty on the squared coefficients, per training row; coordinates are scaled to [−1, 1]."""
    checkpoints: bool = False
    """Fit every row of the zoo, not only the experts' final ones."""
    name: ClassVar[str] = "regression"
    draws: ClassVar[bool] = False

    def lesson(self, zoo: Zoo) -> Lesson:
        """All rows, or the final ones."""
        return of_zoo(zoo, None if self.checkpoints else zoo.final_rows)

    def make(self, lesson: Lesson, places: Places, train: Trainer | None = None) -> list[Generator]:
        writer, codec = solution(self, lesson)
        written = dict.fromkeys(range(len(places.seeds)), (writer, codec))
        return keep(lesson, places, written, {"config": asdict(self), "degree": writer.degree})


class Regression(eqx.Module):
    kind: ClassVar[str] = "regression"
    coefficients: Float[Array | np.ndarray, "m z"]
    degree: int = eqx.field(static=True)

    def write(self, conditions, keys) -> Float[np.ndarray, "n z"]:
        phi = features(np.asarray(conditions), self.degree)
        return np.asarray(phi @ self.coefficients, np.float32)

    def settings(self) -> dict:
        return {"degree": self.degree}

    @classmethod
    def blank(cls, settings: dict, frame: Frame) -> "Regression":
        degree = settings["degree"]
        m = features(np.zeros((1, frame.condition)), degree).shape[1]
        return cls(jnp.zeros((m, frame.latent)), degree)


def features(encoded: Float[np.ndarray, "n d"], degree: int) -> Float[np.ndarray, "n m"]:
    """φ: the monomials of each row's d numbers up to `degree`, the constant first."""
    columns = [np.ones(len(encoded))]
    for power in range(1, degree + 1):
        for factors in combinations_with_replacement(range(encoded.shape[1]), power):
            columns.append(np.prod(encoded[:, factors], axis=1))
    return np.stack(columns, axis=1)


def solve(
    encoded: Float[np.ndarray, "n d"], latents: Float[np.ndarray, "n z"], degree: int, ridge: float
) -> Float[np.ndarray, "m z"]:
    """C, the ridge solution for one degree.

    Of many coordinates there are more monomials than rows; then the same solution is found among
    combinations of rows: C₁ = Φᵀ(ΦΦᵀ + n·ridge·I)⁻¹z, both centered.
    """
    phi = features(encoded, degree)
    if phi.shape[1] > len(phi):
        centered = phi[:, 1:] - phi[:, 1:].mean(axis=0)
        products = centered @ centered.T + ridge * len(phi) * np.eye(len(phi))
        among = np.linalg.lstsq(products, latents - latents.mean(axis=0), rcond=None)[0]
        slopes = centered.T @ among
        return np.vstack([latents.mean(axis=0) - phi[:, 1:].mean(axis=0) @ slopes, slopes])
    penalty = ridge * len(phi) * np.eye(phi.shape[1])
    penalty[0, 0] = 0.0
    return np.linalg.lstsq(phi.T @ phi + penalty, phi.T @ latents, rcond=None)[0]


def choose_degree(
    encoded: Float[np.ndarray, "x d"], latents: Float[np.ndarray, "x z"], ridge: float
) -> int:
    """The degree that best predicts each expert from all others; at most x − 2, at least 1."""
    count = len(encoded)
    if count < 3:
        return count - 1

    def error(degree: int) -> float:
        total = 0.0
        for held in range(count):
            rest = np.arange(count) != held
            guess = solve(encoded[rest], latents[rest], degree, ridge)
            gap = features(encoded[~rest], degree) @ guess - latents[~rest]
            total += float((gap**2).sum())
        return total

    return min(range(1, min(MAX_DEGREE, count - 2) + 1), key=error)


def solution(config: RegressionConfig, lesson: Lesson) -> tuple[Regression, Pca]:
    """The regression of a lesson's rows on their conditions, and its codec; raises BadSetting for a
    degree that the number of training contexts cannot determine."""
    zoo, count = lesson.zoo, len(lesson.zoo.contexts)
    if config.degree is not None and not 0 <= config.degree < count:
        raise BadSetting(
            f"degree {config.degree} needs more than {count} training contexts; "
            f"0 … {count - 1} are possible, or none to choose one"
        )
    codec = codecs.fit_pca(PcaConfig(config.components), zoo.weights[lesson.rows])
    conditions = np.asarray(lesson.reader.read(lesson.given))
    latents = codec.encode(zoo.weights[lesson.rows])
    degree = config.degree
    if degree is None:
        final = np.flatnonzero(zoo.final[lesson.rows])
        final = final[np.argsort(lesson.expert[final])]
        degree = choose_degree(conditions[final], latents[final], config.ridge)
    found = solve(conditions, latents, degree, config.ridge)
    return Regression(np.asarray(found, np.float32), degree), codec
