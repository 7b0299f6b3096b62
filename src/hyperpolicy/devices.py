"""Settings that must stand before jax starts: one host device per core, and a compilation cache.

XLA's intra-op threading wastes small matrices; instead the fleet axis is sharded over host
devices, one per core, exactly as it is sharded over several GPUs.
"""

import os
from pathlib import Path


def prepare() -> None:
    """Set the environment of jax, unless the user has set it already. Imports nothing."""
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_force_host_platform_device_count" not in flags:
        count = f"--xla_force_host_platform_device_count={num_cores()}"
        os.environ["XLA_FLAGS"] = f"{flags} {count}".strip()
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "hyperpolicy/jax"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")


def num_cores() -> int:
    """Cores this process may use."""
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
