"""What every test runs under: two host devices, a compilation cache, checked shapes."""

import os
import signal
from pathlib import Path

# Before jax starts, and inherited by the processes that tests start.
CACHE = Path(__file__).parents[1] / ".cache"
# Tests compile much and compute little: plain code is there in a fourth of the time.
# Products are YNNPACK's here, as jaxlib has it: at this level XLA's own gave gradients that are not
# finite where each of two devices had one learner.
os.environ["XLA_FLAGS"] = (
    "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0 "
    "--xla_cpu_use_fusion_emitters=false "
    "--xla_cpu_experimental_ynn_fusion_type=LIBRARY_FUSION_TYPE_DOT,"
    "LIBRARY_FUSION_TYPE_REDUCE"
)
os.environ["JAX_PLATFORMS"] = "cpu"
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background ignores it
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(CACHE / "jax")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
os.environ["MPLBACKEND"] = "agg"

import hypothesis
import jaxtyping
import pytest

jaxtyping.install_import_hook("hyperpolicy", "beartype.beartype")
hypothesis.settings.register_profile("house", deadline=None, derandomize=True)
hypothesis.settings.load_profile("house")


MOST_PAGES = 3 * 2**30 // 4096
"""Of memory, beyond which a worker of the tests forgets what it compiled; it grows by gigabytes."""


@pytest.fixture(autouse=True, scope="module")
def little_memory():
    """Whoever tests on a small machine runs out of it otherwise."""
    yield
    statm = Path("/proc/self/statm")
    if statm.exists() and int(statm.read_text().split()[1]) > MOST_PAGES:
        import jax

        jax.clear_caches()


@pytest.fixture(autouse=True)
def any_width(monkeypatch):
    """As where nobody named a width; workers of parallel tests are told 80 columns."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture
def as_user(monkeypatch):
    """Without the shape checks, as users run: wrong shapes reach our own errors."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A directory with a zoo of untrained experts at all MACAW speeds, and a generator of it."""
    import numpy as np

    import hyperpolicy as hp
    from hyperpolicy.generate.writers import lookup

    there, spec = tmp_path_factory.mktemp("made"), hp.PolicySpec(20, 6, (4, 4))
    contexts = hp.family("cheetah-vel").grid("macaw").contexts
    n = len(contexts)
    zoo = hp.Zoo(
        spec,
        hp.family("cheetah-vel"),
        np.random.default_rng(0).normal(0, 0.3, (n, spec.size)).astype(np.float32),
        expert=np.arange(n),
        updates=np.full(n, 10),
        final=np.ones(n, bool),
        returns=np.full(n, -100.0, np.float32),
        contexts=contexts,
        provenance={"seed": 0},
    )
    zoo.save(there / "zoo")
    lookup.nearest(zoo).save(there / "generator")
    return there


@pytest.fixture(autouse=True)
def without_first_words(monkeypatch):
    """On a busy machine anything may take seconds; tests read what commands print."""
    from hyperpolicy.run import progress

    monkeypatch.setattr(progress, "SOON_S", 600.0)
