"""Settings that must stand before jax starts: one host device per core, and a compilation cache.

XLA's intra-op threading wastes small matrices; instead the fleet axis is sharded over host
devices, one per core, exactly as it is sharded over several GPUs.
"""

import os
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LARGE = 100_000_000
"""Numbers that a fit holds (networks, averages, the optimizer's moments) from which a GPU's shorter
products (TF32) are worth what they cost."""


def prepare() -> None:
    """Set the environment of jax, unless the user has set it already. Imports nothing."""
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_force_host_platform_device_count" not in flags:
        count = f"--xla_force_host_platform_device_count={num_cores()}"
        flags = f"{flags} {count}"
    if "ynn_fusion" not in flags and _has_ynn():
        flags += " --xla_cpu_experimental_ynn_fusion_type="
    os.environ["XLA_FLAGS"] = flags.strip()
    cache = cache_directory()
    if cache is not None:
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")


def _has_ynn() -> bool:
    """Whether jaxlib gives sums and products to YNNPACK, as 0.10 does: the sums of a network with
    routing can then end the process with a segmentation fault, and BRC's step takes 1.6 times as
    long. Other versions end where they are given a flag that they do not know."""
    try:
        return version("jaxlib").startswith("0.10.")
    except PackageNotFoundError:
        return False


def cache_directory() -> Path | None:
    """Where compiled programs are kept: below XDG_CACHE_HOME, if that is a whole path, or below
    the home directory's .cache; None where there is neither, or it cannot be written."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        above = given if given.is_absolute() else Path.home() / ".cache"
    except RuntimeError:  # no HOME, and a user without an entry
        return None
    try:
        there = next(path for path in (above, *above.parents) if path.exists())
    except (OSError, StopIteration):
        return None
    writable = there.is_absolute() and there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    return above / "hyperpolicy/jax" if writable else None


def precision(size: int) -> AbstractContextManager:
    """Within it, products of float32 numbers are computed in float32, as networks of fewer than
    LARGE numbers (`size`) want: a GPU would round them to TF32's eleven bits, and seeds that are
    fitted together would differ from one alone by a percent. JAX_DEFAULT_MATMUL_PRECISION wins."""
    import jax

    asked = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    if size >= LARGE or asked is not None:
        return nullcontext()
    return jax.default_matmul_precision("highest")


def lacking() -> str | None:
    """What to tell a user whose JAX_PLATFORMS names devices that are not here; None where they are
    here, or none are named. Where they are not, jax looks for others."""
    import jax

    asked = os.environ.get("JAX_PLATFORMS", "")
    if not asked or _platforms():
        return None
    jax.config.update("jax_platforms", None)
    return (
        f"JAX_PLATFORMS={asked}: jax finds no such devices; here it has {_platforms()}. Unset "
        "JAX_PLATFORMS, or set JAX_PLATFORMS=cpu"
    )


def _platforms() -> str:
    """'cpu', or 'cuda, cpu'; '' where jax does not start."""
    import jax

    try:
        return ", ".join(dict.fromkeys(device.platform for device in jax.devices()))
    except Exception:  # jax raises RuntimeError or an AssertionError, as versions go
        return ""


def num_cores() -> int:
    """Cores this process may use: HYPERPOLICY_CORES, or all that the system gives it."""
    asked = os.environ.get("HYPERPOLICY_CORES", "")
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_order() -> dict[str, bool] | None:
    """Compiler options for a loop of small products that fills every core by itself: XLA is told
    not to look for work to do side by side, which gives 4 % on two cores."""
    import jax

    if jax.default_backend() != "cpu":
        return None
    return {"xla_cpu_enable_concurrency_optimized_scheduler": False}


def expert_mesh(num_experts: int):
    """As many devices as there are experts, at most all, on the one axis ("expert",)."""
    import jax
    import numpy as np
    from jax.sharding import Mesh

    return Mesh(np.array(jax.devices()[:num_experts]), ("expert",))
