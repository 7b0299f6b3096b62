"""The command that runs policies for one episode."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from tyro.conf import Positional

from hyperpolicy.bounds import Count, Seed, unused
from hyperpolicy.cli.command import Command, NewFile, table
from hyperpolicy.cli.sources import given_to, maker_of, scripts_of, tasks_of, zoo_path
from hyperpolicy.run.progress import Announced


@dataclass(frozen=True)
class Play(Command):
    """Run policies for one episode; print what they did, and record a video if asked."""

    family: Positional[str]
    """Task family, e.g. cheetah-vel; with named tasks, metaworld:window-open."""
    context: tuple[float, ...] = ()
    """One or more contexts, e.g. target speeds in m/s; they play side by side."""
    policy: str = "generator"
    """zero, random, scripted (on Meta-World), expert (the zoo's nearest), generator (the shipped
    one), or the path of a generator, a zoo or a file of policies."""
    demo: Path | None = None
    """Demonstrations, for a generator that reads them: the first one of each task."""
    video: NewFile | None = None
    """Write an mp4 here; needs a rendering back end."""
    zoo: Path | None = None
    """Where `expert` is looked up; zoos/<family>/specialized-full by default."""
    every: Count | None = None
    """One frame of the video for so many steps; 20 frames a second unless given."""
    seed: Seed = 0
    """Of the initial state, and of the generator's noise."""

    def run(self, console: Console) -> None:
        from hyperpolicy.rollout import trace

        fam, contexts = tasks_of(self.family, self.context)
        self._check()
        if self.policy == "scripted":
            actor = scripts_of(fam, contexts)
        else:
            actor = maker_of(fam, self.policy, self.zoo)
        given = given_to(actor, contexts, self.demo)
        if hasattr(actor, "generate"):
            actor = actor.generate(given, seed=self.seed)
        with Announced(f"playing one episode of {fam.horizon_steps} steps"):
            found = trace(actor, fam, contexts, seed=self.seed)
        if self.video is not None:
            from hyperpolicy.evaluate.video import Film, record

            titles = [self.policy] * len(contexts)
            film = Film(every=self.every, seed=self.seed)
            record(actor, fam, contexts, self.video, titles, film)
        if self.policy == "expert":
            console.print(self._nearest(fam, contexts))
        console.print(_outcomes(fam, contexts, found))
        if self.video is not None:
            console.print(f"video: {self.video}")

    def _check(self) -> None:
        """Refuse what would be overwritten and what would have no effect."""
        if self.video is None:
            unused(self, ["every"], "without --video")
        else:
            _check_video(self.video, self.every)
        if self.policy != "expert":
            unused(self, ["zoo"], f"with --policy {self.policy}; it is where `expert` is looked up")

    def _nearest(self, fam, contexts) -> str:
        from hyperpolicy.zoo import Zoo

        path = zoo_path(fam, self.zoo)
        known = Zoo.load(path).contexts
        chosen = known[fam.context.distance(contexts, known).argmin(axis=1)]
        names = ", ".join(fam.task_name(context) for context in chosen)
        return f"nearest experts of {path}: {names}"


def _check_video(path: Path, every: int | None) -> None:
    """Raise before the episode what would stop its video."""
    from hyperpolicy.envs import rendering
    from hyperpolicy.evaluate import video

    video.check(path, every)
    rendering.back_end()


def _outcomes(fam, contexts, found):
    """A table of what the policies did in their episode."""
    rows, header = [], ["target", "return", "steps", "over the second half"]
    for i, context in enumerate(contexts):
        steps = int(found.alive[i, 0].sum())
        mean = found.outcome[i, 0, steps // 2 : steps].mean(axis=0)
        row = [fam.task_name(context), f"{found.returns[i, 0]:.1f}", str(steps)]
        row.append(fam.outcome_name(mean))
        success = fam.success(found.outcome[i, 0, :steps])
        if success is not None:
            header = [*header[:4], "steps of success"]
            first = f", the first after {int(success.argmax()) + 1}" if success.any() else ""
            row.append(f"{int(success.sum())} of {steps}{first}")
        rows.append(row)
    return table(header, rows)
