"""Does a policy that leaves this package act as ours does, in every family?

    python benchmarks/export.py [--families cheetah-vel ant-dir]

A family with a shipped generator: the policy that it writes for a context nobody trained on (a
demonstration on Meta-World), and the generator itself. Any other: a policy of random weights. Each
is written as an ONNX file and for NumPy alone; actions are compared on all observations of five
episodes, returns on five episodes that begin alike.
"""

import tempfile
import warnings
from pathlib import Path

import numpy as np
import tyro
from harness import ROOT, console, record, save_record
from rich.table import Table

import hyperpolicy as hp
from hyperpolicy.data.given import Contexts
from hyperpolicy.envs.registry import FAMILIES
from hyperpolicy.export import generator_file, numpy_runtime, onnx_file, parity
from hyperpolicy.export.contract import Contract
from hyperpolicy.generate import shipped

SHOWN = ROOT / "zoos/metaworld/amt-hyp/demonstrations.safetensors"


def main(families: tuple[str, ...] = tuple(FAMILIES), seed: int = 0) -> None:
    """Export, compare, print a table, and write results/export.json.

    Args:
        families: whose policies are exported.
        seed: of contexts, and of random weights.
    """
    warnings.simplefilter("ignore")
    found, table = (
        {},
        Table("family", "policy", "runtime", "action", "ours", "exported", "ms a step"),
    )
    for name in families:
        found[name] = own = exported(name, seed)
        for runtime in ("onnx", "numpy"):
            one = own[runtime]
            spread = [f"{np.mean(one[x]):.2f} ± {np.std(one[x]):.2f}" for x in ("ours", "exported")]
            cells = [f"{one['gap']:.1e}", *spread, f"{one['step_ms']:.3f}"]
            table.add_row(name, own["policy"], runtime, *cells)
        if "generator" in own:
            table.add_row(name, "generator, weights", "onnx", f"{own['generator']:.1e}", "", "", "")
    console.print(table)
    if set(families) == set(FAMILIES):
        about = {"seed": seed}
        print(save_record("export", record("export", __doc__.split("\n\n")[0], about, found)))


def exported(name: str, seed: int) -> dict:
    """What is compared for one family."""
    family, rng = hp.family(name), np.random.default_rng(seed)
    found: dict = {}
    with tempfile.TemporaryDirectory() as folder:
        if name in shipped():
            found["policy"] = "generated"
            generator = hp.load(name)
            if generator.takes is Contexts:
                trained = generator.trained_contexts
                low, high = trained.min(axis=0), trained.max(axis=0)
                context = rng.uniform(low, high)
                given = Contexts(family, context[None])
            else:
                given = hp.Demonstrations.load(SHOWN)[[0]]
                context = given.contexts[0]
            policy = generator.generate(given)
            path = generator_file.write(generator, Path(folder) / "generator.onnx")
            found["generator"] = generator_file.gap(generator, path, given)
        else:
            found["policy"] = "random weights"
            context = rng.uniform(family.context.low, family.context.high)
            context = family.grid().contexts[0] if family.grids else context
            spec = hp.PolicySpec(family.obs_size, family.action_size, (64, 64))
            weights = rng.normal(0, 0.2, (1, spec.size)).astype(np.float32)
            policy = hp.Policies(weights, spec)
        contract = Contract(family, context)
        path = onnx_file.write(policy, contract, Path(folder) / "policy.onnx")
        program = numpy_runtime.write(policy, contract, Path(folder) / "policy.npz")[1]
        actors = {"onnx": onnx_file.OnnxActor(path, family), "numpy": parity.numpy_actor(program)}
        for runtime, actor in actors.items():
            one = parity.compare(policy, actor, family, context, runtime)
            found[runtime] = {
                "gap": one.gap,
                "ours": one.ours.round(3).tolist(),
                "exported": one.theirs.round(3).tolist(),
                "step_ms": round(one.step_ms, 4),
            }
    return found


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
