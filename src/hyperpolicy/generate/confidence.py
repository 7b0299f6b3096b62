"""How sure a generator may be of a policy that nobody has played, measured on contexts held out.

Training contexts are cut into folds. A fit without a fold writes policies for it; they and the
experts of the fold play the same episodes, and

    shortfall = mean return of the context's own expert − mean return of the written policy.

Each signal of doubt (`signals.py`) is compared with the shortfall by Spearman's rank correlation,
with the interval of Bonett & Wright (2000, Psychometrika 65:23). Only a signal that reaches
LEAST and whose interval excludes 0 is shown with policies: the best one. From it an isotonic
regression gives the shortfall to expect, and the residual that nine of ten points stay below gives
the bound.

The experts of a zoo that was specialized from a base have all contexts of the zoo in common, so
what is measured there is how well a generator fills gaps between experts, not how well experts and
base would do without the context.

    GENERATOR/confidence.json         every point, the choice
    GENERATOR/evidence.safetensors    what the chosen signal looks at, where it looks at experts
    GENERATOR/committee/<i>           other fits, where it looks at these
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import isotonic_regression
from scipy.special import ndtri
from scipy.stats import rankdata

from hyperpolicy import files, headers
from hyperpolicy.errors import BadContext, BadFile, BadSetting, BadZoo
from hyperpolicy.evaluate import stats
from hyperpolicy.evaluate.protocol import usual_episodes
from hyperpolicy.generate import critics, signals
from hyperpolicy.generate import generator as generators
from hyperpolicy.generate.fitting import FitConfig, fit, fit_seeds
from hyperpolicy.generate.generator import Generator
from hyperpolicy.generate.signals import SIGNALS, Asked, Evidence
from hyperpolicy.headers import ConfidenceHeader, RankingRecord, SignalRecord
from hyperpolicy.policies import Policies
from hyperpolicy.rollout import returns
from hyperpolicy.zoo import Zoo

FORMAT = "hyperpolicy-confidence-1"
HEADER, EVIDENCE, COMMITTEE = "confidence.json", "evidence.safetensors", "committee"
LEAST = 0.3
"""Rank correlation below which a signal is not shown."""
BELOW = 0.9
"""Share of contexts whose shortfall stays below the bound."""
FITS = 5
"""Fits that are compared with each other."""


# --- What was measured --------------------------------------------------------------------
class Held(NamedTuple):
    """What one fit wrote for contexts that it was not given."""

    contexts: Float[np.ndarray, "n c"]
    shortfall: Float[np.ndarray, " n"]
    """Mean over draws."""
    signals: dict[str, Float[np.ndarray, " n"]]
    ranks: Float[np.ndarray, "n 3"] | None = None
    """Of each context's draws: rank correlation of critics' values and returns, return of the draw
    that the critics prefer minus the draws' mean, and of the best draw minus that mean."""

    def record(self) -> dict:
        """As JSON."""
        own = {name: x.tolist() for name, x in self.signals.items()}
        ranks = None if self.ranks is None else self.ranks.tolist()
        some = {"contexts": self.contexts.tolist(), "shortfall": self.shortfall.tolist()}
        return some | {"signals": own, "ranks": ranks}

    @classmethod
    def read(cls, record: dict) -> "Held":
        """What `record` wrote."""
        own = {name: np.array(x) for name, x in record["signals"].items()}
        ranks = None if record["ranks"] is None else np.array(record["ranks"])
        return cls(np.array(record["contexts"]), np.array(record["shortfall"]), own, ranks)

    @classmethod
    def joined(cls, some: Sequence["Held"]) -> "Held":
        """All contexts of several fits, with the signals that all of them have."""
        names = [name for name in some[0].signals if all(name in one.signals for one in some)]
        ranks = [one.ranks for one in some if one.ranks is not None]
        return cls(
            np.concatenate([one.contexts for one in some]),
            np.concatenate([one.shortfall for one in some]),
            {name: np.concatenate([one.signals[name] for one in some]) for name in names},
            np.concatenate(ranks) if len(ranks) == len(some) else None,
        )


def held_out(
    config: FitConfig,
    zoo: Zoo,
    train: Int[np.ndarray, " k"],
    test: Int[np.ndarray, " n"],
    episodes: int,
    num_draws: int = 8,
    seed: int = 0,
    out: Path | None = None,
) -> Held:
    """A fit on the experts `train` of a zoo, asked for the contexts of its experts `test`.

    Raises BadContext: the kind reads no contexts.
    """
    part, own = zoo.only(zoo.contexts[train]), zoo.only(zoo.contexts[test])
    generator, committee = members(config.on_part_of(zoo), part, out)
    evidence = Evidence.of(part, committee)
    asked = Asked(generator, evidence, own.contexts, 0)
    found = {name: SIGNALS[name].measure(asked) for name in signals.possible(generator, evidence)}
    seen = [asked.written(generator, i) for i in range(num_draws if config.draws else 1)]
    earned = [returns(p, zoo.family, own.contexts, episodes, seed).mean(axis=1) for p in seen]
    theirs = returns(own.finals, zoo.family, own.contexts, episodes, seed).mean(axis=1)
    ranks = None
    if len(seen) > 1 and part.critics is not None and part.states is not None:
        ranks = _ranks(part, own.contexts, seen, np.stack(earned, axis=1))
    return Held(own.contexts, theirs - np.mean(earned, axis=0), found, ranks)


def members(config: FitConfig, zoo: Zoo, out: Path | None = None) -> tuple[Generator, list]:
    """A fit, and others to compare it with: other seeds where the kind draws, otherwise each
    without a fifth of the experts. Raises BadContext: the kind reads no contexts."""
    if config.draws:
        first, *others = fit_seeds(config, zoo, range(FITS), out)
    else:
        first, others = fit(config, zoo), []
        for fold in folds_of(len(zoo.contexts), min(FITS, len(zoo.contexts) // 2)):
            rest = np.setdiff1d(np.arange(len(zoo.contexts)), fold)
            others.append(fit(config.on_part_of(zoo), zoo.only(zoo.contexts[rest])))
    if first.takes.name != "contexts":
        raise BadContext(
            f"a {first.kind} generator reads {first.takes.name}; how sure it may be is measured "
            "for those that read contexts"
        )
    return first, others


def folds_of(n: int, k: int) -> list[Int[np.ndarray, " _"]]:
    """k folds of n experts, each spread over all of them."""
    return [np.arange(i, n, k) for i in range(k)]


def _ranks(
    part: Zoo, contexts: Float[np.ndarray, "n c"], seen: list[Policies], earned
) -> Float[np.ndarray, "n 3"]:
    """See `Held.ranks`; the critics are two neighbors' mixed, on the nearest expert's states."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of extrapolations
        twins = critics.interpolated(part).generate(contexts)
    nearest = part.family.context.distance(contexts, part.contexts).argmin(axis=1)
    rows = []
    for n, x in enumerate(nearest):
        drawn = Policies(np.concatenate([one.weights[n : n + 1] for one in seen]), part.spec)
        value = critics.values(twins[n], drawn, np.asarray(part.states)[x, : signals.STATES])
        over = earned[n] - earned[n].mean()
        rows.append((correlation(value, earned[n]), over[value.argmax()], over.max()))
    return np.array(rows)


# --- What follows -------------------------------------------------------------------------
def correlation(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> float:
    """Spearman's rank correlation; 0 where one of the two never changes."""
    a, b = rankdata(a), rankdata(b)
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else 0.0


def correlation_interval(rho: float, n: int) -> tuple[float, float]:
    """The 95 % interval of a rank correlation over n points: tanh(artanh ρ ± z·√((1 + ρ²/2)/(n −
    3))); everything is possible below five points."""
    if n < 5:
        return -1.0, 1.0
    half = ndtri(0.975) * np.sqrt((1.0 + rho**2 / 2.0) / (n - 3))
    middle = np.arctanh(np.clip(rho, -0.999999, 0.999999))
    return float(np.tanh(middle - half)), float(np.tanh(middle + half))


def header_of(held: Held, folds: int, episodes: int, weights: str) -> ConfidenceHeader:
    """What is kept of everything held out; `weights` is the generator's checksum."""
    n = len(held.shortfall)
    records = []
    for name, x in held.signals.items():
        rho = correlation(x, held.shortfall)
        low, high = correlation_interval(rho, n)
        values = tuple(np.round(x, 6).tolist())
        records.append(SignalRecord(name, round(rho, 4), round(low, 4), round(high, 4), values))
    trusted = [one for one in records if one.correlation >= LEAST and one.low > 0]
    best = max(trusted, key=lambda one: one.correlation).name if trusted else None
    return ConfidenceHeader(
        format=FORMAT,
        generator=weights,
        folds=folds,
        episodes=episodes,
        contexts=tuple(map(tuple, held.contexts.tolist())),
        shortfall=tuple(np.round(held.shortfall, 4).tolist()),
        signals=tuple(records),
        chosen=best,
        ranking=_ranking(held.ranks),
    )


def _ranking(ranks) -> RankingRecord | None:
    """Means over contexts with Student's intervals."""
    if ranks is None or len(ranks) < 2:
        return None
    numbers = []
    for column in ranks.T:
        numbers += [float(column.mean()), *stats.student(column)]
    return RankingRecord(*(round(x, 4) for x in numbers))


class Judgment(NamedTuple):
    """How much less than an expert of its own a policy may return."""

    signal: Float[np.ndarray, " n"]
    expected: Float[np.ndarray, " n"]
    bound: Float[np.ndarray, " n"]
    """Nine of ten contexts that were held out stayed below it."""


def judge(
    x: Float[np.ndarray, " n"], known: Float[np.ndarray, " k"], shortfall: Float[np.ndarray, " k"]
) -> Judgment:
    """What signals `x` stand for, from the points that were measured."""
    order = np.argsort(known, kind="stable")
    level = isotonic_regression(shortfall[order]).x
    expected = np.interp(x, known[order], level)
    rest = np.sort(shortfall[order] - level)
    most = rest[min(len(rest) - 1, int(np.ceil(BELOW * (len(rest) + 1))) - 1)]
    return Judgment(x, expected, expected + most)


def check_folds(folds: int, zoo: Zoo) -> None:
    """Raise BadSetting for folds that a zoo's contexts do not allow; 0 stands for none."""
    n = len(zoo.contexts)
    if folds and not 2 <= folds <= n // 2:
        raise BadSetting(f"folds={folds} (--folds); {n} training contexts allow 2 to {n // 2}")


# --- On disk ------------------------------------------------------------------------------
class Confidence(NamedTuple):
    """What was measured for a generator, and what its chosen signal looks at."""

    header: ConfidenceHeader
    evidence: Evidence

    def of(
        self, generator: Generator, contexts, seed: int = 0, signal: str | None = None
    ) -> Judgment | None:
        """How sure the generator may be at these contexts [n, c]; None where no signal is trusted.
        Raises BadSetting: a signal that was not measured, or needs evidence that is not kept."""
        name = self.header.chosen if signal is None else signal
        if name is None:
            return None
        known = {one.name: one for one in self.header.signals}
        if name not in known:
            raise BadSetting(f"no signal {name!r} was measured; there are: {', '.join(known)}")
        if why := SIGNALS[name].missing(generator, self.evidence):
            raise BadSetting(f"the signal {name!r} cannot be had here: {why}")
        rows = generator.family.context.check(contexts)
        x = SIGNALS[name].measure(Asked(generator, self.evidence, rows, seed))
        return judge(x, np.array(known[name].values), np.array(self.header.shortfall))


def calibrate(
    config: FitConfig,
    zoo: Zoo,
    path: str | Path,
    folds: int = 5,
    episodes: int | None = None,
    seed: int = 0,
) -> Confidence:
    """How sure the generator in the directory `path`, fitted on `zoo` by `config`, may be; written
    beside it. A call that was stopped goes on.

    Raises:
        BadSetting: fewer than two folds, or more than half as many as training contexts.
        BadContext: the generator reads no contexts, or not those of this zoo.
    """
    path, n = Path(path), len(zoo.contexts)
    check_folds(folds or 1, zoo)
    generator = generators.load(path)
    if not np.array_equal(generator.trained_contexts, np.asarray(zoo.contexts, float)):
        raise BadContext(f"{path} was not fitted on the contexts of this zoo")
    episodes = usual_episodes(zoo.family) if episodes is None else episodes
    some = []
    for i, fold in enumerate(folds_of(n, folds)):
        place = path / "folds" / f"{i}.json"
        if not place.exists():
            rest = np.setdiff1d(np.arange(n), fold)
            own = held_out(config, zoo, rest, fold, episodes, seed=seed, out=path / f"folds/{i}")
            place.parent.mkdir(exist_ok=True)
            files.save_json(place, own.record())
        some.append(Held.read(files.load_json(place)))
    header = header_of(Held.joined(some), folds, episodes, _sum_of(path))
    committee = []
    if header.chosen == "disagreement":
        committee = members(config, zoo, path / "folds/all")[1]
    found = Confidence(header, Evidence.of(zoo, committee))
    save(found, path)
    return found


def save(found: Confidence, path: Path) -> None:
    """Write what was measured beside a generator, `confidence.json` last."""
    evidence, chosen = found.evidence, found.header.chosen
    if chosen not in (None, "distance", "disbelief"):
        arrays = {"contexts": evidence.contexts, "weights": evidence.weights}
        arrays |= {"states": evidence.states} if evidence.states is not None else {}
        if chosen == "lost value" and evidence.critics is not None:
            arrays["critics"] = evidence.critics.astype(np.float16)
        files.save_arrays(path / EVIDENCE, arrays, overwrite=True)
    for i, one in enumerate(evidence.committee if chosen == "disagreement" else ()):
        if not (path / COMMITTEE / str(i)).exists():
            one.save(path / COMMITTEE / str(i), compact=True)
    headers.write(path / HEADER, found.header)


def load(name_or_path: str | Path, generator: Generator) -> Confidence | None:
    """What was measured for a shipped or own generator; None where nothing was. Raises BadFile: it
    is damaged, or was measured for another generator."""
    known = str(name_or_path) in generators.shipped()
    path = generators.SHIPPED / name_or_path if known else Path(name_or_path)
    if not (path / HEADER).exists():
        return None
    header = headers.read(path / HEADER, ConfidenceHeader, FORMAT)
    if header.generator != _sum_of(path):
        raise BadFile(f"{path / HEADER} was measured for another generator; remove it")
    kept = Evidence(generator.trained_contexts, np.zeros((0, generator.spec.size), np.float32))
    if header.chosen not in (None, "distance", "disbelief"):
        arrays, _ = files.load_arrays(path / EVIDENCE)
        headers.check_finite(arrays, path / EVIDENCE)
        twins = arrays.get("critics")
        twins = None if twins is None else twins.astype(np.float32)
        kept = Evidence(arrays["contexts"], arrays["weights"], arrays.get("states"), twins)
    places = sorted((path / COMMITTEE).glob("*")) if header.chosen == "disagreement" else []
    return Confidence(header, kept._replace(committee=tuple(map(generators.load, places))))


def preferred(
    generator: Generator, zoo: Zoo, contexts: Float[np.ndarray, "n c"], num: int, seed: int = 0
) -> Policies:
    """Of `num` draws for each context the one that the neighboring experts' critics value most.

    Raises:
        BadSetting: the generator draws nothing.
        BadZoo: a zoo without critics or observations, or of another family.
    """
    if zoo.family != generator.family or zoo.states is None:
        raise BadZoo("critics judge on experts' observations; give the zoo of this family")
    if not signals.draws_noise(generator):
        raise BadSetting(f"a {generator.kind} generator draws nothing; there is one policy only")
    contexts = generator.family.context.check(contexts)
    asked = Asked(generator, Evidence.of(zoo), contexts, seed)
    seen = [asked.written(generator, seed + i) for i in range(num)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of extrapolations
        twins = critics.interpolated(zoo).generate(contexts)
    chosen = []
    for n, x in enumerate(asked.nearest):
        drawn = Policies(np.concatenate([one.weights[n : n + 1] for one in seen]), generator.spec)
        best = critics.rank(twins[n], drawn, zoo.states[x, : signals.STATES])[0]
        chosen.append(drawn.weights[best])
    return Policies(np.array(chosen), generator.spec)


# --- Out ----------------------------------------------------------------------------------
def rows(header: ConfidenceHeader) -> list[tuple[str, str, str]]:
    """A row a signal for a table, and one of critics that rank draws."""
    found = [
        (
            one.name,
            f"{one.correlation:.2f} [{one.low:.2f}, {one.high:.2f}]",
            "is shown with policies" if one.name == header.chosen else "",
        )
        for one in header.signals
    ]
    if (ranks := header.ranking) is not None:
        gain = f"{ranks.gain:.1f} [{ranks.gain_low:.1f}, {ranks.gain_high:.1f}]"
        rho = f"{ranks.correlation:.2f}"
        rho += f" [{ranks.correlation_low:.2f}, {ranks.correlation_high:.2f}]"
        found.append(("critics, among draws", rho, f"the draw they prefer returns {gain} more"))
    return found


def said(header: ConfidenceHeader) -> str:
    """What follows from it."""
    n, mean = len(header.contexts), np.mean(header.shortfall)
    text = f"on {n} contexts held out, policies return {mean:.1f} less than the contexts' experts"
    if header.chosen is None:
        text += f"; no signal reaches {LEAST}, so none is shown with policies"
    return text


def _sum_of(path: Path) -> str:
    """The checksum of a generator's weights."""
    return files.checksum(path / generators.WEIGHTS)
