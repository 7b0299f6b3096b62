"""A page's folder: what the repository brings, what npm brings, and one record a generator.

    SITE/index.html style.css app.js …      the page
    SITE/vendor/                             MuJoCo's WebAssembly build and three, by npm
    SITE/data/page.json page.bin             generators, worlds, starts

It is static: any server shows it, offline too. The npm packages are fetched when it is built, at
the versions of `static/package-lock.json`, and kept in the user's cache.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hyperpolicy import files
from hyperpolicy.envs import Family
from hyperpolicy.errors import AlreadyExists, BadSetting, MissingExtra
from hyperpolicy.generate.generator import Generator
from hyperpolicy.generate.writers import lookup
from hyperpolicy.page import world, writer
from hyperpolicy.page.pack import Pack
from hyperpolicy.provenance import library_versions
from hyperpolicy.zoo import Zoo

STATIC = Path(__file__).parent / "static"
PAGES = ("index.html", "style.css", "app.js", "graph.js", "trace.js", "world.js", "draw.js")
VENDOR = {
    "mujoco.js": "@mujoco/mujoco/mujoco.js",
    "mujoco.wasm": "@mujoco/mujoco/mujoco.wasm",
    "three.module.min.js": "three/build/three.module.min.js",
}
NPM_S = 300


def build(
    named: Sequence[tuple[str, Generator, Zoo | None]], out: str | Path, vendor: bool = True
) -> Path:
    """The new folder of a page with generators, each under a title and, where there is one, with
    the zoo whose nearest and interpolated experts stand beside it.

    Raises:
        BadSetting: a generator or a family that pages cannot show; the message says why.
        MissingExtra: npm is missing or cannot fetch.
        AlreadyExists, DiskFull: it cannot be written; nothing is left half written.
    """
    out = Path(out)
    if out.exists():
        raise AlreadyExists(f"{out} exists; choose another name or remove it first")
    if not named:
        raise BadSetting("no generator; a page needs one")
    pack = Pack()
    tabs = [_tab(title, generator, zoo, pack) for title, generator, zoo in named]
    record = {"versions": library_versions(), "tabs": tabs}
    packages = fetched() if vendor else None
    files.check_space(out, pack.size + 20_000_000 * vendor)
    with files.directory(out) as new:
        for name in PAGES:
            shutil.copyfile(STATIC / name, new / name)
        if packages is not None:
            (new / "vendor").mkdir()
            for name, source in VENDOR.items():
                shutil.copyfile(packages / source, new / "vendor" / name)
        (new / "data").mkdir()
        (new / "data/page.json").write_text(json.dumps(record, default=files.plain))
        pack.write(new / "data/page.bin")
    return out


def _tab(title: str, generator: Generator, zoo: Zoo | None, pack: Pack) -> dict[str, Any]:
    """The record of one generator."""
    family, trained = generator.family, generator.trained_contexts
    varied = np.flatnonzero((trained != trained[:1]).any(axis=0)).tolist() or [0]
    usual = trained[len(trained) // 2]
    beside = {}
    if zoo is not None:
        if zoo.family != family or zoo.spec != generator.spec:
            raise BadSetting(f"the zoo beside {title!r} holds policies of another family or size")
        known = zoo.only(trained) if len(trained) <= len(zoo.contexts) else zoo
        beside["nearest expert"] = writer.of(lookup.nearest(known), pack)
        if len(varied) == 1:
            beside["interpolated experts"] = writer.of(lookup.linear(known), pack)
    return {
        "title": title,
        "about": _about(family),
        "world": world.of(family, usual, varied, pack),
        "policy": writer.policy(generator),
        "generator": writer.of(generator, pack),
        "beside": beside,
        "usual": usual.tolist(),
        "trained": pack.add(trained, "f8"),
        "coordinates": [
            {
                "index": i,
                "name": one.name,
                "unit": one.unit,
                "low": one.low,
                "high": one.high,
                "period": one.period,
                "least": one.least,
                "role": one.role,
            }
            for i in varied
            for one in [family.context.coordinates[i]]
        ],
    }


def _about(family: Family) -> str:
    """What its tasks are: the first paragraph of its class's docstring."""
    return " ".join((type(family).__doc__ or "").strip().split("\n\n")[0].split())


# --- npm ----------------------------------------------------------------------------------
def cache() -> Path:
    """Where npm's packages are kept."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "hyperpolicy" / "page"


def fetched() -> Path:
    """The folder of npm's packages, fetched where it is missing. Raises MissingExtra: npm is
    missing, or cannot fetch them."""
    place, lock = cache(), (STATIC / "package-lock.json").read_text()
    stamp, packages = place / "lock.json", place / "node_modules"
    whole = all((packages / source).is_file() for source in VENDOR.values())
    if whole and stamp.exists() and stamp.read_text() == lock:
        return packages
    npm = shutil.which("npm")
    if npm is None:
        raise MissingExtra(
            "a page needs MuJoCo's WebAssembly build and three, which npm fetches, and npm is not "
            "installed; on Debian: apt-get install npm"
        )
    place.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(STATIC / name, place / name)
    command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    try:
        done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=NPM_S)
        fault = (
            "" if not done.returncode else (done.stderr.strip().splitlines() or ["npm failed"])[0]
        )
    except subprocess.TimeoutExpired:
        fault = f"npm took more than {NPM_S} s"
    if fault:
        raise MissingExtra(
            f"npm cannot fetch MuJoCo's WebAssembly build and three ({fault}); a page is built "
            "with a network once, then they are kept"
        )
    stamp.write_text(lock)
    return packages
