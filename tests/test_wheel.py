"""The built wheel installs beside nothing else of ours, imports, and brings its data along."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

LOOK = """
import sys
import tomllib
from pathlib import Path
import hyperpolicy
assert Path(hyperpolicy.__file__).is_relative_to(sys.argv[1]), hyperpolicy.__file__
from hyperpolicy.evaluate import published
assert published("cheetah-vel")
print(*hyperpolicy.generate.shipped())
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    return next(out.glob("hyperpolicy-*.whl"))


def test_wheel_holds_every_source_and_data_file(wheel):
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("hyperpolicy/")}
    source = ROOT / "src"
    wanted = {
        str(path.relative_to(source))
        for path in source.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }
    assert inside == wanted
    assert {"hyperpolicy/py.typed", "hyperpolicy/evaluate/published.json"} <= inside


def test_wheel_installs_and_imports(wheel, tmp_path):
    """Unpacked is what installing a pure wheel into a directory means."""
    zipfile.ZipFile(wheel).extractall(tmp_path)
    env = os.environ | {"PYTHONPATH": str(tmp_path)}
    look = [sys.executable, "-W", "error", "-c", LOOK, str(tmp_path)]
    done = subprocess.run(look, env=env, cwd=tmp_path, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    shipped = ROOT / "src/hyperpolicy/generate/shipped"
    assert {"cheetah-vel", "ant-dir"} <= set(done.stdout.split())
    assert set(done.stdout.split()) == {path.parent.name for path in shipped.glob("*/config.json")}


def extras() -> dict[str, list[str]]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def test_extras_that_tests_use_are_resolved_together():
    """They stand in `dev` with the same range, which the lock file resolves at once."""
    known, locked = extras(), (ROOT / "requirements.lock").read_text()
    apart = {"gpu", "torch", "ray", "mjx", "trackio", "wandb", "tensorboard", "dev"}
    # large, or accounts; slow tests take them where they are
    for extra in known.keys() - apart:
        for one in known[extra]:
            assert one in known["dev"], f"{one} of [{extra}] is not in [dev]"
            name = re.match(r"[A-Za-z0-9_-]+", one)[0].lower()
            assert re.search(rf"^{name}(\[.*\])?==", locked, re.M), f"{name} is not locked"


@pytest.mark.slow
def test_all_extras_resolve_together():
    """By pip, without installing anything; asks the package index."""
    names = ",".join(sorted(extras().keys() - {"gpu"}))
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", f"{ROOT}[{names}]"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert not done.returncode, done.stderr[-2000:]
