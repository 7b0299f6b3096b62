"""Cards: what stands beside a generator or a zoo on a hub, written from what they know of
themselves."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hyperpolicy.envs import Family
from hyperpolicy.evaluate.tables import markdown, number
from hyperpolicy.hub.places import Named


def model_card(
    named: Named,
    family: Family,
    kind: str,
    takes: str,
    trained: np.ndarray,
    size: int,
    provenance: Mapping[str, Any],
    results: str = "",
    license: str = "",
) -> str:
    """A generator's card: what it takes, where it was trained, how it is loaded, what it reached
    (`results`, Markdown), and where it comes from."""
    given = "contexts" if takes == "contexts" else takes
    call = "generator.generate([[...]])" if takes == "contexts" else "generator.generate(shown)"
    return "\n\n".join(
        [
            _front(named, family, license, ["policy-generation", kind]),
            f"# {named.name}",
            f"A generator of policies for `{family.name}`: told {given}, it writes the "
            f"{size:,} weights of a policy (kind: {kind}), without training on that task.",
            "```python\nimport hyperpolicy as hp\n\n"
            f'generator = hp.load("{named.name}")\npolicies = {call}\n```',
            "## Contexts",
            _contexts(family, trained, "trained on"),
            *(["## Results", results] if results else [NO_RESULTS]),
            "## Where it comes from",
            _origin(provenance),
        ]
    )


def data_card(
    named: Named,
    family: Family,
    contexts: np.ndarray,
    returns: np.ndarray,
    rows: int,
    size: int,
    provenance: Mapping[str, Any],
    license: str = "",
) -> str:
    """A zoo's card: whose weights, at which contexts, what they return, where they come from."""
    known = returns[np.isfinite(returns)]
    mean = f"; their mean return is {number(float(known.mean()))}" if len(known) else ""
    return "\n\n".join(
        [
            _front(named, family, license, ["policy-zoo"]),
            f"# {named.name}",
            f"A zoo of experts for `{family.name}`: {rows} weight vectors of {size:,} numbers, of "
            f"{len(contexts)} experts{mean}.",
            f"```sh\nhyperpolicy pull {named.name} --kind zoo --out zoo\n```\n\n"
            '```python\nimport hyperpolicy as hp\n\nzoo = hp.Zoo.load("zoo")\n'
            "print(zoo.contexts, zoo.returns[zoo.final_rows])\n```",
            "## Contexts",
            _contexts(family, contexts, "experts at"),
            "## Where it comes from",
            _origin(provenance),
        ]
    )


NO_RESULTS = (
    "No results were given with it. `hyperpolicy score` sets it beside trivial rows: the nearest "
    "expert, interpolated weights, a policy that is told its context."
)


def _front(named: Named, family: Family, license: str, tags: Sequence[str]) -> str:
    """The card's head, as a hub reads it."""
    lines = ["---", "library_name: hyperpolicy"]
    lines += [f"license: {license}"] if license else []
    lines += ["tags:", "- reinforcement-learning", f"- {family.name}", *(f"- {t}" for t in tags)]
    return "\n".join([*lines, "---"])


def _contexts(family: Family, contexts: np.ndarray, what: str) -> str:
    told = family.context.coordinates
    rows = [
        [
            one.name,
            one.unit or "–",
            one.role,
            f"{one.low:.4g} … {one.high:.4g}",
            f"{a:.4g} … {b:.4g}",
        ]
        for one, a, b in zip(told, contexts.min(axis=0), contexts.max(axis=0), strict=True)
    ]
    header = ["coordinate", "unit", "role", "bounds", f"{what} ({len(contexts)})"]
    return markdown(header, rows)


def _origin(provenance: Mapping[str, Any]) -> str:
    """Provenance, a line a name; what is long or nested stands in provenance.json."""
    rows = [[k, str(v)] for k, v in _flat(provenance) if len(str(v)) <= 80 and "\n" not in str(v)]
    return markdown(["", ""], [[k.replace("|", "/"), v.replace("|", "/")] for k, v in rows[:40]])


def _flat(record: Mapping[str, Any], before: str = "") -> list[tuple[str, Any]]:
    found = []
    for name, value in record.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{before}{name}.")
        else:
            found.append((f"{before}{name}", value))
    return found
