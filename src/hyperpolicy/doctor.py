"""What this machine has for hyperpolicy, what is wrong with it, and what to do about each fault."""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from hyperpolicy.devices import num_cores
from hyperpolicy.errors import NoRendering

FREE_BYTES = 2e9
"""A run of 40 experts with its snapshots takes about this much."""

DEVICES = "import jax; print('\\n'.join(f'{d.platform}: {d.device_kind}' for d in jax.devices()))"


@dataclass(frozen=True)
class Finding:
    """One line of the report. `advice` is empty where all is well."""

    name: str
    value: str
    advice: str = ""
    fatal: bool = False
    """Nothing works without it."""


def examine() -> list[Finding]:
    """Every finding, in the order of the report. Takes some seconds: it starts jax and OpenGL."""
    return [
        *_versions(),
        _devices(),
        _cores(),
        _rendering(),
        *_extras(),
        _disk("disk here", Path.cwd()),
        _disk("temporary disk", Path(tempfile.gettempdir())),
        _cache(),
    ]


def usable(findings: list[Finding]) -> bool:
    return not any(finding.fatal for finding in findings)


def to_json(findings: list[Finding]) -> dict:
    return {"usable": usable(findings), "findings": [asdict(finding) for finding in findings]}


# --- Findings -----------------------------------------------------------------------------
def _needs() -> list[tuple[Requirement, str]]:
    """What hyperpolicy asks for, and the extra that asks, '' for the core."""
    try:
        lines = requires("hyperpolicy") or []
    except PackageNotFoundError:  # run from a source tree
        return []
    extras = ["", *(metadata("hyperpolicy").get_all("Provides-Extra") or [])]
    needs = [Requirement(line) for line in lines]
    return [(need, extra) for need in needs for extra in extras if _asks(need, extra)]


def _asks(need: Requirement, extra: str) -> bool:
    if need.marker is None or need.marker.evaluate({"extra": ""}):
        return not extra
    return need.marker.evaluate({"extra": extra})


def _installed(need: Requirement) -> str | None:
    """The installed version of a requirement; None where it, or one of its own extras, is not."""
    try:
        found = version(need.name)
        wanted = [Requirement(line) for line in requires(need.name) or []]
        for own in (r for r in wanted for extra in need.extras if _asks(r, extra)):
            version(own.name)
        return found
    except PackageNotFoundError:
        return None


def _versions() -> list[Finding]:
    try:
        ours = Finding("hyperpolicy", version("hyperpolicy"))
    except PackageNotFoundError:
        ours = Finding("hyperpolicy", "source tree", "install it: `pip install -e .`")
    machine = f"{platform.system()} {platform.machine()}"
    python = Finding("python", f"{platform.python_version()} on {machine}")
    return [ours, python, *(_core(need) for need, extra in _needs() if not extra)]


def _text(need: Requirement) -> str:
    """As `pip install` takes it: 'jax[cuda13]'."""
    return need.name + (f"[{','.join(sorted(need.extras))}]" if need.extras else "")


def _core(need: Requirement) -> Finding:
    found, wanted = _installed(need), f"{_text(need)}{need.specifier}"
    if found is None:
        return Finding(need.name, "missing", f"`pip install '{wanted}'`", fatal=True)
    if not need.specifier.contains(found, prereleases=True):
        return Finding(
            need.name, found, f"another version is needed: `pip install '{wanted}'`", True
        )
    return Finding(need.name, found)


def _extras() -> list[Finding]:
    """One finding an extra: installed, or how to install it."""
    missing: dict[str, list[str]] = {}
    for need, extra in _needs():
        if extra:
            absent = [] if _installed(need) else [_text(need)]
            missing[extra] = missing.get(extra, []) + absent
    findings = []
    for extra, names in missing.items():
        value = f"without {', '.join(names)}" if names else "installed"
        advice = f"if you want it: `pip install 'hyperpolicy[{extra}]'`" if names else ""
        findings.append(Finding(f"extra [{extra}]", value, advice))
    return findings


def _devices() -> Finding:
    """jax's devices, asked in a process of their own: a broken driver may end it."""
    done = subprocess.run([sys.executable, "-c", DEVICES], capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"code {done.returncode}"])[-1]
        return Finding("devices", reason, "set JAX_PLATFORMS=cpu, or repair the GPU driver", True)
    kinds = done.stdout.split("\n")[:-1]
    counted = ", ".join(f"{kinds.count(kind)} × {kind}" for kind in dict.fromkeys(kinds))
    advice = ""
    if shutil.which("nvidia-smi") and all(kind.startswith("cpu") for kind in kinds):
        advice = "there is an NVIDIA driver: `pip install 'hyperpolicy[gpu]'` uses it"
    return Finding("devices", counted, advice)


def _cores() -> Finding:
    """Cores set the number of jax's host devices and of the worlds' threads."""
    return Finding("cores", f"{num_cores()} of {os.cpu_count()}, one device and one thread each")


def _rendering() -> Finding:
    try:
        from hyperpolicy.envs import rendering

        return Finding("rendering", rendering.back_end())
    except NoRendering as fault:
        return Finding("rendering", "none: no videos", str(fault))
    except ImportError as error:
        return Finding("rendering", "not tried", f"install what is missing first: {error}")


def _disk(name: str, path: Path) -> Finding:
    try:
        free = shutil.disk_usage(path).free
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        return Finding(name, f"{path}: {error.strerror}", "work in a directory you can write to")
    advice = "" if free > FREE_BYTES else f"training wants {FREE_BYTES / 1e9:.0f} GB: free some"
    return Finding(name, f"{free / 1e9:.1f} GB free in {path}", advice)


def _cache() -> Finding:
    """Where compiled programs are kept; without it every run compiles anew."""
    path = Path(os.environ.get("JAX_COMPILATION_CACHE_DIR", ""))
    there = path
    while not there.exists():
        there = there.parent
    if os.access(there, os.W_OK):
        return Finding("compilation cache", str(path))
    advice = "set JAX_COMPILATION_CACHE_DIR to a directory you can write to; else starts are slow"
    return Finding("compilation cache", f"{path} cannot be written", advice)
