"""The built wheel installs beside nothing else of ours, imports, and brings its data along."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

LOOK = """
import sys
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
