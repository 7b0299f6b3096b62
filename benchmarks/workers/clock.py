"""How long XLA has compiled in this process."""

import jax


class CompileClock:
    """Adds up XLA's compilations from now on, in seconds; none is served by a cache."""

    def __init__(self):
        self.seconds = 0.0
        jax.config.update("jax_enable_compilation_cache", False)
        jax.monitoring.register_event_duration_secs_listener(self._add)

    def _add(self, event: str, duration: float, **_) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            self.seconds += duration
