"""Where results come from: the versions and the commit behind them."""

import subprocess
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


@cache
def library_versions() -> dict[str, str]:
    """Versions that physics and learning depend on; the commit, when run from a clone.

    Asked for once a process, so that work on the clone does not change what a long run says.
    """
    found = {}
    for name in ("hyperpolicy", "mujoco", "gymnasium", "jax"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    clone = Path(__file__).parents[2]
    if (clone / ".git").exists():  # an installed package has none of its own
        asked = ["git", "-C", str(clone), "describe", "--always", "--dirty", "--exclude=*"]
        with suppress(OSError, subprocess.CalledProcessError):
            done = subprocess.run(asked, capture_output=True, text=True, check=True)
            found["commit"] = done.stdout.strip()
    return found
