"""The command that writes policies into a file."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from tyro.conf import Positional

from hyperpolicy.bounds import Seed
from hyperpolicy.cli.command import Command, NewFile, refuse
from hyperpolicy.cli.sources import contexts_of, given_to, reads_demonstrations
from hyperpolicy.errors import BadContext


@dataclass(frozen=True)
class Generate(Command):
    """Write policies for contexts nobody trained on, or for demonstrations, into one safetensors
    file."""

    generator: Positional[str]
    """A shipped generator's name, or a generator's directory."""
    out: NewFile
    """The file to write, e.g. policies.safetensors."""
    context: tuple[float, ...] = ()
    """One or more contexts, for a generator that reads contexts."""
    demo: Path | None = None
    """Demonstrations, for a generator that reads them: one policy for each."""
    seed: Seed = 0
    """Of the generator's noise."""

    def run(self, console: Console) -> None:
        from hyperpolicy.generate import load

        refuse(self.out)
        generator = load(self.generator)
        fam = generator.family
        if reads_demonstrations(generator):
            if self.context:
                raise BadContext(
                    "this generator reads demonstrations, no contexts: leave --context out"
                )
            given = given_to(generator, None, self.demo)
            names = ", ".join(dict.fromkeys(fam.task_name(c) for c in given.contexts))
        else:
            given = given_to(generator, contexts_of(fam, self.context), self.demo)
            names = ", ".join(fam.task_name(context) for context in given)
        policies = generator.generate(given, seed=self.seed)
        policies.save(self.out)
        sizes = f"{len(policies)} × {policies.spec.size:,} numbers"
        console.print(f"{self.out}: {sizes}, {fam.name} at {names}")
