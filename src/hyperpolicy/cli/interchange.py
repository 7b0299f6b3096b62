"""Commands that bring zoos in and take them out: others' experts, Make-An-Agent's files."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from rich.console import Console
from tyro.conf import Positional

from hyperpolicy.bounds import NewPlace, Number
from hyperpolicy.cli.command import Command, NewFile, contexts_of, refuse, table
from hyperpolicy.errors import BadSetting


@dataclass(frozen=True)
class ZooImport(Command):
    """Make a zoo of policies that other libraries trained, one expert a file.

    Taken are MLPs out of Stable-Baselines3's zips, PyTorch state dicts (CleanRL, rsl_rl, others),
    safetensors, .npz and ONNX files. Deterministic actions stay as they were.
    """

    files: Positional[tuple[Path, ...]]
    """One a context, in the contexts' order."""
    family: str
    """The task family that they act in."""
    context: tuple[float, ...]
    """The context of each file."""
    out: NewPlace
    """The zoo to write."""
    recorded: tuple[Path, ...] = ()
    """For each file an .npz with arrays obs [n, o] and action [n, a] of that policy's deterministic
    actions; without them nothing tells a wrong order of observations."""
    activation: str | None = None
    """Of hidden layers, where a file does not say: relu, elu, tanh."""
    output: Literal["tanh", "clip"] | None = None
    """What becomes of the last layer, where it is not as usual for the library."""
    action_low: Number | None = None
    action_high: Number | None = None
    """The range of actions that the policies were trained with; −1 and 1 unless given."""
    normalizer: Path | None = None
    """An .npz with arrays mean and var of observations, as VecNormalize keeps them."""
    prefix: str = ""
    """With which the names of the policy's layers begin."""
    align: bool = True
    """Bring hidden units into one order, which changes no action."""

    def run(self, console: Console) -> None:
        from hyperpolicy import imports
        from hyperpolicy.envs import family
        from hyperpolicy.imports import experts

        refuse(self.out)
        fam = family(self.family)
        contexts = contexts_of(fam, self.context)
        for name, given in (("files", self.files), ("recorded", self.recorded)):
            if len(given) not in (len(contexts), 0 if name == "recorded" else -1):
                raise BadSetting(f"{len(given)} {name} for {len(contexts)} contexts; give one each")
        hints = experts.hints(
            self.activation,
            self.output,
            (self.action_low, self.action_high),
            self.normalizer,
            self.prefix,
        )
        found = [imports.read(path, hints) for path in self.files]
        gaps = [
            experts.check(one, there, str(path))
            for one, there, path in zip(found, self.recorded, self.files, strict=False)
        ]
        zoo = experts.make_zoo(found, fam, contexts, [path.name for path in self.files])
        zoo, worth = experts.aligned(zoo) if self.align else (zoo, experts.worth(zoo))
        zoo.save(self.out)
        rows = [
            [path.name, fam.task_name(context), f"{value:.1f}"]
            for path, context, value in zip(self.files, zoo.contexts, zoo.returns, strict=True)
        ]
        console.print(table(["file", "context", "return here"], rows))
        if gaps:
            console.print(f"actions differ from the recorded ones by {max(gaps):.1e} at most")
        else:
            console.print("nothing was recorded (--recorded), so no action was checked")
        if worth is not None:
            console.print(worth)
        console.print(f"{len(zoo)} experts: {self.out}")


@dataclass(frozen=True)
class ZooImportMakeAnAgent(Command):
    """Make a zoo and its demonstrations of files in Make-An-Agent's published layout.

    Deterministic actions stay those of the released actor. Sampled ones do not: it clamps log σ,
    which is squashed here. Returns are not in the files and stay unmeasured.
    """

    files: Positional[tuple[Path, ...]]
    """Files (.pt) of the tensors param, traj and task; one a task."""
    task: tuple[str, ...]
    """The Meta-World task of each file, such as window-open; the files do not say."""
    out: NewPlace
    """The directory to write."""
    demonstrations: NewFile | None = None
    """The file of demonstrations to write; OUT.demonstrations.safetensors unless given."""

    def run(self, console: Console) -> None:
        from hyperpolicy import interchange

        shown_at = self.demonstrations or interchange.beside(self.out)
        refuse(self.out)
        refuse(shown_at)
        if self.out in shown_at.parents:
            raise BadSetting(
                f"{shown_at} lies in the zoo, which counts its files; put it elsewhere"
            )
        if len(set(self.task)) != len(self.files):
            raise BadSetting(
                f"{len(self.files)} files and {len(set(self.task))} different tasks; name "
                "the task of each file, in their order"
            )
        interchange.FAMILY.contexts(self.task)  # unknown names before gigabytes
        held = map(interchange.Tensors.load, self.files)
        zoo, shown = interchange.make_zoo(dict(zip(self.task, held, strict=True)))
        names = {"files": [path.name for path in self.files]}
        shown.save(shown_at)
        try:
            replace(zoo, provenance=zoo.provenance | names).save(self.out)
        except BaseException:
            shown_at.unlink()  # both or none
            raise
        tasks = ", ".join(map(zoo.family.task_name, zoo.contexts))
        console.print(f"{len(zoo)} policies of {tasks}: {self.out}")
        console.print(f"their demonstrations: {shown_at}")


@dataclass(frozen=True)
class ZooExport(Command):
    """Write a zoo and its demonstrations as one file in Make-An-Agent's published layout.

    It takes Meta-World policies of width 128 with ELU and ReLU, and one demonstration a row.
    """

    path: Positional[Path]
    """The zoo's directory."""
    make_an_agent: NewFile
    """The file (.pt) to write."""
    demonstrations: Path | None = None
    """The file of demonstrations, one a row; ZOO.demonstrations.safetensors unless given."""

    def run(self, console: Console) -> None:
        from hyperpolicy import interchange
        from hyperpolicy.data.demonstrations import Demonstrations
        from hyperpolicy.zoo import Zoo

        refuse(self.make_an_agent)
        zoo = Zoo.load(self.path)
        shown = Demonstrations.load(self.demonstrations or interchange.beside(self.path))
        made = interchange.make_tensors(zoo, shown)
        made.save(self.make_an_agent)
        tasks = [interchange.FAMILY.task_name(context) for context in zoo.contexts]
        console.print(f"{len(made)} policies of {', '.join(tasks)}: {self.make_an_agent}")
        if len(tasks) > 1:
            console.print("the file does not say which is whose")
