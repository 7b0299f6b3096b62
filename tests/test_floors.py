"""Imports point down only, siblings only in one package, names that say something."""

import ast
import re
from pathlib import Path

import hyperpolicy
from hyperpolicy.rl import LEARNERS

ROOT = Path(hyperpolicy.__file__).parent
FLOORS = [
    set(
        "types errors bounds files headers seeds symmetry devices provenance "
        "registration interrupts opengl terminal engine".split()
    ),
    {"nets", "envs", "run"},
    {"policies", "data", "mjx"},
    {"zoo", "rollout", "rl"},
    {"fleet", "evaluate", "interchange"},
    {"hub"},
    {"generate"},
    {"baselines"},
    {"recipes", "doctor", "export", "imports"},
    {"page", "report", "cluster"},
    {"cli"},
    {"__main__"},
]
FLOOR = {part: i for i, floor in enumerate(FLOORS) for part in floor}
PAGES = sorted(page for page in ROOT.rglob("*.py") if page != ROOT / "__init__.py")


def part_of(page: Path) -> str:
    return page.relative_to(ROOT).with_suffix("").parts[0]


def imported_parts(page: Path) -> set[str]:
    """Parts of hyperpolicy that a page imports, at its top or inside its functions."""
    names = []
    for node in ast.walk(ast.parse(page.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{page}: relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return {name.split(".")[1] for name in names if name.startswith("hyperpolicy.")}


def test_imports_point_down():
    wrong = [
        f"{page.relative_to(ROOT)} (floor {FLOOR[here]}) imports {there}"
        for page in PAGES
        for here in [part_of(page)]
        for there in sorted(imported_parts(page) & FLOOR.keys() - {here})
        if FLOOR[there] >= max(FLOOR[here], 1)  # the ground floor is one package
    ]
    assert not wrong, "\n".join(wrong)


def module_of(page: Path) -> str:
    parts = page.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(page: Path, known: set[str]) -> set[str]:
    """Modules of hyperpolicy that a page imports, at its top or inside its functions."""
    found = set()
    for node in ast.walk(ast.parse(page.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & known
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                found |= {name if name in known else node.module} & known
    return found


def circle(graph: dict[str, set[str]]) -> list[str]:
    """A circle of imports; empty where there is none."""
    done: set[str] = set()

    def walk(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for other in sorted(graph[name]):
            if found := walk(other, [*path, name]):
                return found
        done.add(name)
        return []

    return next((found for name in sorted(graph) if (found := walk(name, []))), [])


def test_no_imports_go_in_a_circle():
    """Inside functions neither. A package's own `__init__` only hands out what its pages make."""
    pages = [page for page in PAGES if page.name != "__init__.py"]
    known = {module_of(page) for page in pages}
    found = circle({module_of(page): imported_modules(page, known) for page in pages})
    assert not found, " → ".join(found)


def test_a_circle_is_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_worlds_know_no_jax():
    for page in (ROOT / "envs").rglob("*.py"):
        text = page.read_text()
        assert "import jax" not in text.replace("import jaxtyping", ""), page
        assert "Array" not in [
            w
            for line in text.splitlines()
            if "jaxtyping import" in line
            for w in line.replace(",", " ").split()
        ], page


def test_every_page_has_a_floor():
    assert {part_of(page) for page in PAGES} <= FLOOR.keys()


def test_no_page_has_a_name_that_says_nothing():
    assert not {"utils", "common", "helpers", "base", "misc"} & {page.stem for page in PAGES}


def test_fleets_know_no_learner():
    """Nor do jobs, rollouts and zoos; a name would be a branch some day."""
    names = "|".join(re.escape(name).replace(r"\-", "[-_]?") for name in LEARNERS)
    word = re.compile(rf"\b({names})\b|({names})Config", re.IGNORECASE)
    for folder in ("fleet", "run", "rollout", "zoo"):
        for page in (ROOT / folder).rglob("*.py"):
            assert not (found := word.search(page.read_text())), f"{page} names {found[0]}"


def test_nobody_asks_what_kind_of_learner_there_is():
    """Configurations and learners are asked, not told apart."""
    for folder in ("fleet", "run", "rollout", "zoo", "recipes", "cli"):
        for page in (ROOT / folder).rglob("*.py"):
            for line in page.read_text().splitlines():
                if "isinstance(" in line:
                    kinds = line.split("isinstance(", 1)[1]
                    assert not re.search(r"(Learner|Sac|Td|Ppo|Ddpg)\w*Config|Learner\b", kinds), (
                        line
                    )
