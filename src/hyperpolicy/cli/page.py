"""The command that writes a page in which generators write policies and robots move."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from hyperpolicy.bounds import Names, NewPlace
from hyperpolicy.cli.command import Command, zoo_path
from hyperpolicy.errors import BadSetting, BadZoo


@dataclass(frozen=True)
class Page(Command):
    """Write a static page: choose a context, a generator writes the policy's weights in the page,
    and MuJoCo moves the robot beside the nearest and the interpolated experts.

    Any static server shows it, offline too: `python -m http.server --directory site`. npm fetches
    MuJoCo's WebAssembly build and three when a page is built for the first time.
    """

    out: NewPlace
    """The folder to write, e.g. site."""
    generators: Names = ("cheetah-vel", "ant-dir", "cheetah-run")
    """Names of shipped generators, or generators' directories; each is a tab."""
    zoos: tuple[Path, ...] = ()
    """The zoos they were fitted on, one each, for the experts beside them; those of the repository
    are found."""

    def run(self, console: Console) -> None:
        from hyperpolicy.generate import load
        from hyperpolicy.page import site
        from hyperpolicy.zoo import Zoo

        if self.zoos and len(self.zoos) != len(self.generators):
            raise BadSetting(
                f"--zoos: {len(self.zoos)}, --generators: {len(self.generators)}; give one each"
            )
        named = []
        for i, name in enumerate(self.generators):
            generator = load(name)
            zoo = Zoo.load(self.zoos[i]) if self.zoos else _shipped(generator.family)
            named.append((Path(name).name, generator, zoo))
        made = site.build(named, self.out)
        size = sum(path.stat().st_size for path in made.rglob("*") if path.is_file())
        console.print(f"{made}: {len(named)} generators, {size / 1e6:.1f} MB")
        console.print(f"look at it: python -m http.server --directory {made}, then localhost:8000")


def _shipped(family):
    """The zoo of the repository, where it is there."""
    from hyperpolicy.zoo import Zoo

    try:
        return Zoo.load(zoo_path(family, None))
    except BadZoo:
        return None
