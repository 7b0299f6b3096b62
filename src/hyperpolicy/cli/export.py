"""The command that writes a policy for use without this package."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from tyro.conf import Positional

from hyperpolicy.bounds import Number, Seed
from hyperpolicy.cli.command import (
    Command,
    NewFile,
    given_to,
    maker_of,
    reads_demonstrations,
    refuse,
    table,
    tasks_of,
)
from hyperpolicy.errors import BadContext, BadSetting


@dataclass(frozen=True)
class Export(Command):
    """Write one policy as an ONNX file, or for NumPy alone, and compare it with ours."""

    family: Positional[str]
    """Task family, e.g. cheetah-vel; with named tasks, metaworld:window-open."""
    out: NewFile
    """The file to write: policy.onnx, or policy.npz with a program beside it."""
    context: tuple[float, ...] = ()
    """The context, e.g. a target speed in m/s."""
    runtime: Literal["onnx", "numpy"] = "onnx"
    """What will run it."""
    policy: str = "generator"
    """generator (the shipped one), expert (the zoo's nearest), or the path of a generator, a zoo
    or a file of policies."""
    demo: Path | None = None
    """Demonstrations, for a generator that reads them."""
    zoo: Path | None = None
    """Where `expert` is looked up."""
    action_low: Number = -1.0
    """What an output of −1 stands for on the robot."""
    action_high: Number = 1.0
    """What an output of 1 stands for on the robot."""
    seed: Seed = 0
    """Of the generator's noise."""
    generator: bool = False
    """Write the generator itself, contexts → weights, in place of one policy (ONNX alone)."""

    def run(self, console: Console) -> None:
        from hyperpolicy.export import numpy_runtime, onnx_file, parity
        from hyperpolicy.export.contract import Contract
        from hyperpolicy.policies import Actor, Policies

        refuse(self.out)
        if self.generator:
            return self._whole(console)
        fam, contexts = tasks_of(self.family, self.context)
        if len(contexts) != 1:
            raise BadContext(
                f"{len(contexts)} contexts; a file holds one policy, so give one context"
            )
        contract = Contract(fam, contexts[0], self.policy, self.action_low, self.action_high)
        made = maker_of(fam, self.policy, self.zoo)
        given = given_to(made, contexts, self.demo)
        if hasattr(made, "generate"):
            made = made.generate(given, seed=self.seed)
        if not isinstance(made, Policies):
            raise BadSetting(f"--policy {self.policy} has no weights to export; name a policy")
        actor: Actor
        if self.runtime == "onnx":
            paths = [onnx_file.write(made, contract, self.out)]
            actor = onnx_file.OnnxActor(paths[0], fam)
        else:
            paths = numpy_runtime.write(made, contract, self.out)
            actor = parity.numpy_actor(paths[1], self.action_low, self.action_high)
        found = parity.compare(made, actor, fam, contexts[0], self.runtime)
        rows = [
            ["largest difference of an action", f"{found.gap:.1e}"],
            ["return here", f"{found.ours.mean():.2f}"],
            ["return there", f"{found.theirs.mean():.2f}"],
            ["milliseconds a step", f"{found.step_ms:.3f}"],
        ]
        console.print(table(["compared on five episodes", self.runtime], rows))
        for path in paths:
            console.print(f"{path}")
        if not found.holds:
            raise BadSetting(
                f"the exported policy differs from ours by {found.gap:.1e} in an action; it is "
                "there, do not use it, and tell us"
            )

    def _whole(self, console: Console) -> None:
        """Write a generator."""
        from hyperpolicy.bounds import unused
        from hyperpolicy.envs import family
        from hyperpolicy.export import generator_file
        from hyperpolicy.generate.generator import Generator

        which = "with --generator, which writes policies for any context"
        unused(self, ["context", "runtime", "zoo", "action_low", "action_high"], which)
        fam = family(self.family)
        made = maker_of(fam, self.policy, None)
        if not isinstance(made, Generator):
            raise BadSetting(f"--policy {self.policy} is no generator; name one, or its directory")
        path = generator_file.write(made, self.out)
        console.print(f"{path}: {made.takes.name} to {made.spec.size:,} weights")
        if self.demo is not None or not reads_demonstrations(made):
            given = made.accept(given_to(made, made.trained_contexts, self.demo))
            gap = generator_file.gap(made, path, given)
            what = "at its training contexts" if self.demo is None else f"for {self.demo}"
            console.print(f"largest difference of a weight {what}: {gap:.1e}")
