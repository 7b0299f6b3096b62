"""Makes the peers' own environment, `.venv-peers` in the project root, and says where it is.

    python benchmarks/peers.py

The peers run on the newest versions of their dependencies that they accept, beside an editable
hyperpolicy that lends them the task. On Linux the package index serves torch with CUDA, several
gigabytes; a CPU wheel that pip finds through `PIP_FIND_LINKS` or an index of its own is taken
instead.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / ".venv-peers"
PINS = (
    "stable-baselines3==2.9.*",
    "sbx-rl==0.28.*",
    "torch==2.13.0",
    "transformers==5.*",
    "rsl-rl-lib==5.5.*",
    "brax==0.14.*",
)


def python() -> Path:
    """The peers' interpreter; the environment is made where it is missing or has other pins."""
    interpreter, stamp, pins = HOME / "bin/python", HOME / ".installed", "\n".join(PINS)
    if not (stamp.exists() and stamp.read_text() == pins):
        subprocess.run([sys.executable, "-m", "venv", "--clear", HOME], check=True)
        pip = [interpreter, "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, *PINS, "--editable", ROOT], check=True)
        stamp.write_text(pins)
    return interpreter


if __name__ == "__main__":
    print(python())
