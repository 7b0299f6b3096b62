"""Imports point down only, siblings only in one package, names that say something."""

import ast
from pathlib import Path

import hyperpolicy

ROOT = Path(hyperpolicy.__file__).parent
FLOORS = [
    set(
        "types errors bounds files headers seeds symmetry devices progress provenance registration "
        "tracking".split()
    ),
    {"nets", "envs", "replay"},
    {"zoo", "rollout", "rl", "demonstrations"},
    {"fleet", "evaluate", "interchange"},
    {"generate", "baselines"},
    {"recipes", "doctor"},
    {"cli", "gallery"},
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


def test_every_page_has_a_floor():
    assert {part_of(page) for page in PAGES} <= FLOOR.keys()


def test_no_page_has_a_name_that_says_nothing():
    assert not {"utils", "common", "helpers", "base", "misc"} & {page.stem for page in PAGES}
