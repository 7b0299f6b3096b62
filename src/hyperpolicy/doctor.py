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

from hyperpolicy import opengl
from hyperpolicy.devices import num_cores
from hyperpolicy.errors import NoRendering

FREE_BYTES = 2e9
"""A run of 40 experts with its snapshots takes about this much."""

ONLY_FOR = {
    "imageio": "videos and Meta-World",
    "imageio-ffmpeg": "videos",
    "matplotlib": "pictures and videos",
    "psutil": "videos",
}
"""What only some commands need; the others work without it."""

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
        Finding("cores", f"{num_cores()} of {os.cpu_count()}, one device and one thread each"),
        _rendering(),
        *_extras(),
        _disk("disk here", Path(".")),
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


def _name(need: Requirement) -> str:
    """As `pip install` takes it: 'jax[cuda13]'."""
    return need.name + (f"[{','.join(sorted(need.extras))}]" if need.extras else "")


def _installed(need: Requirement) -> str | None:
    """The installed version of a requirement; None where it is not."""
    try:
        return version(need.name)
    except PackageNotFoundError:
        return None


def _whole(need: Requirement) -> list[Requirement]:
    """A requirement, and where it is installed what its own extras ask for."""
    if _installed(need) is None:
        return [need]
    wanted = [Requirement(line) for line in requires(need.name) or []]
    own = [r for r in wanted for extra in sorted(need.extras) if _asks(r, extra)]
    return [need, *own]


def _versions() -> list[Finding]:
    try:
        ours = Finding("hyperpolicy", version("hyperpolicy"))
    except PackageNotFoundError:
        ours = Finding("hyperpolicy", "source tree", "install it: `pip install -e .`")
    machine = f"{platform.system()} {platform.machine()}"
    python = Finding("python", f"{platform.python_version()} on {machine}")
    core = [one for need, extra in _needs() if not extra for one in _whole(need)]
    findings = {need.name: _core(need) for need in reversed(core)}  # ours come before others' own
    return [ours, python, *reversed(findings.values())]


def _core(need: Requirement) -> Finding:
    """What every command needs, or those of ONLY_FOR."""
    found, get = _installed(need), f"`pip install '{_name(need)}{need.specifier}'`"
    purpose = ONLY_FOR.get(need.name)
    advice = f"for {purpose}: {get}" if purpose else get
    if found is None:
        return Finding(need.name, "missing", advice, fatal=purpose is None)
    if not need.specifier.contains(found, prereleases=True):
        return Finding(need.name, found, f"another version is needed: {advice}", purpose is None)
    return Finding(need.name, found)


def _extras() -> list[Finding]:
    """One finding an extra: installed, or how to install it."""
    missing: dict[str, list[str]] = {extra: [] for _, extra in _needs() if extra}
    for need, extra in _needs():
        if extra and not all(map(_installed, _whole(need))):
            missing[extra].append(_name(need))
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
        asked = os.environ.get("JAX_PLATFORMS", "")
        advice = "repair the GPU driver, or set JAX_PLATFORMS=cpu"
        if asked:
            reason = f"none for JAX_PLATFORMS={asked}: {reason}"
            advice = "unset JAX_PLATFORMS, or set JAX_PLATFORMS=cpu"
        return Finding("devices", reason, advice, fatal=True)
    kinds = done.stdout.split("\n")[:-1]
    counted = ", ".join(f"{kinds.count(kind)} × {kind}" for kind in dict.fromkeys(kinds))
    advice = ""
    if shutil.which("nvidia-smi") and all(kind.startswith("cpu") for kind in kinds):
        advice = "there is an NVIDIA driver: `pip install 'hyperpolicy[gpu]'` uses it"
    return Finding("devices", counted, advice)


def _rendering() -> Finding:
    try:
        from hyperpolicy.envs import rendering

        found = rendering.back_end()
        asked = opengl.asked()
        advice = ""
        if asked not in ("", found):
            advice = f"MUJOCO_GL={asked} does not draw here: {rendering.probe(asked)}; unset it"
        return Finding("rendering", found, advice)
    except NoRendering as fault:
        return Finding("rendering", "none: no videos", str(fault))
    except ImportError as error:
        return Finding("rendering", "not tried", f"install what is missing first: {error}")


def _disk(name: str, path: Path) -> Finding:
    try:
        path = path.absolute()
        free = shutil.disk_usage(path).free
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        return Finding(name, f"{path}: {error.strerror}", "work in a directory you can write to")
    advice = "" if free > FREE_BYTES else f"training wants {FREE_BYTES / 1e9:.0f} GB: free some"
    return Finding(name, f"{free / 1e9:.1f} GB free in {path}", advice)


def _cache() -> Finding:
    """Where compiled programs are kept; without it every run compiles anew."""
    advice = "set JAX_COMPILATION_CACHE_DIR to a directory you can write to; else starts are slow"
    given = os.environ.get("JAX_COMPILATION_CACHE_DIR", "")
    path = Path(given)
    there = next((above for above in (path, *path.parents) if above.exists()), None)
    if given and there is not None and there.is_dir() and os.access(there, os.W_OK):
        return Finding("compilation cache", given)
    value = f"{given} cannot be written" if given else "none"
    return Finding("compilation cache", value, advice)
