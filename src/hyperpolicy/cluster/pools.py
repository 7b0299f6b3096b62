"""Where tasks run: on a Ray cluster, or under Slurm by submitit."""

import os
import shutil
import socket
import warnings
from abc import ABC, abstractmethod
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from hyperpolicy.cluster.task import Outcome, Task, run
from hyperpolicy.errors import BadSetting, MissingExtra, NoCluster

CONNECT_S = 10
"""Seconds after which a Ray cluster that does not answer is none."""


class Pool(ABC):
    """Runs tasks somewhere, each on as many cores as it asks for."""

    extra: ClassVar[str]

    @abstractmethod
    def __init__(self, place: Path, settings: dict[str, str]):
        """`place` is the run's directory; what is in `settings` depends on the pool."""

    @abstractmethod
    def submit(self, task: Task) -> Any:
        """A handle of the task, which will run when there is room."""

    @abstractmethod
    def outcome(self, handle: Any) -> Outcome | None:
        """How it ended; None while it has not. A lost worker is an outcome with code −1."""

    @abstractmethod
    def close(self) -> None:
        """End whatever still runs."""


class RayPool(Pool):
    extra = "ray"

    def __init__(self, place: Path, settings: dict[str, str]):
        """`settings`: address, of a cluster that runs; without one, RAY_ADDRESS or this machine.

        Raises:
            MissingExtra: Ray is not installed.
            NoCluster: none at the address.
            BadSetting: another setting.
        """
        self.ray = load("ray", self.extra)
        address = settings.pop("address", os.environ.get("RAY_ADDRESS"))
        refuse(settings, "address")
        if address and (fault := unreachable(address)):
            raise _no_ray(address, fault)
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.ray.init(
                    address=address,
                    log_to_driver=False,
                    include_dashboard=False if address is None else None,
                    configure_logging=False,
                )
        except (ConnectionError, TimeoutError, RuntimeError, ValueError, OSError) as error:
            said = str(error).strip().splitlines() or [type(error).__name__]
            raise _no_ray(address or "this machine", said[0]) from None
        self.run = self.ray.remote(max_retries=0)(run)

    def submit(self, task: Task) -> Any:
        return self.run.options(num_cpus=task.cores, name=task.name).remote(task)

    def outcome(self, handle: Any) -> Outcome | None:
        if not self.ray.wait([handle], timeout=0)[0]:
            return None
        try:
            return self.ray.get(handle)
        except self.ray.exceptions.RayError as error:
            return Outcome(-1, str(error).strip().splitlines()[0])

    def close(self) -> None:
        self.ray.shutdown()


class SlurmPool(Pool):
    extra = "slurm"

    def __init__(self, place: Path, settings: dict[str, str]):
        """`settings` are submitit's parameters (slurm_partition, timeout_min, …) and `cluster`:
        slurm, or local for processes of this machine.

        Raises:
            MissingExtra: submitit is not installed.
            NoCluster: there is no Slurm.
            BadSetting: a parameter that submitit does not know.
        """
        os.environ.setdefault("SUBMITIT_LOG_LEVEL", "NOCONFIG")  # it would print to closed streams
        submitit = load("submitit", self.extra)
        self.failed = submitit.core.utils.UncompletedJobError
        cluster = settings.pop("cluster", "slurm")
        if cluster == "slurm" and shutil.which("srun") is None:
            raise NoCluster(
                "there is no Slurm here: `srun` is not found; try it with cluster=local"
            )
        try:
            self.executor = submitit.AutoExecutor(place / "submitit", cluster=cluster)
            numbers = {k: int(v) if v.isdigit() else v for k, v in settings.items()}
            self.executor.update_parameters(**{"timeout_min": 24 * 60, **numbers})
        except (NameError, TypeError, ValueError, KeyError) as error:
            shutil.rmtree(place / "submitit", ignore_errors=True)
            raise BadSetting(f"submitit: {' '.join(str(error).split())[:300]}") from None
        self.jobs: list[Any] = []

    def submit(self, task: Task) -> Any:
        self.executor.update_parameters(cpus_per_task=task.cores, name=task.name)
        job = self.executor.submit(run, task)
        self.jobs.append(job)
        return job

    def outcome(self, handle: Any) -> Outcome | None:
        if not handle.done():
            return None
        try:
            return handle.result()
        except self.failed as error:
            return Outcome(-1, str(error).strip().splitlines()[0])

    def close(self) -> None:
        for job in self.jobs:
            if not job.done():
                job.cancel()


POOLS: dict[str, type[Pool]] = {"ray": RayPool, "slurm": SlurmPool}


def load(name: str, extra: str) -> Any:
    """A module of an extra; MissingExtra where it is not installed."""
    try:
        return import_module(name)
    except ImportError:
        raise MissingExtra(
            f"--on {extra} needs {name}: pip install 'hyperpolicy[{extra}]'"
        ) from None


def unreachable(address: str) -> str:
    """Why nobody answers at HOST:PORT or ray://HOST:PORT; '' where somebody does, or it is a word.
    Ray itself would ask for minutes."""
    host, colon, port = address.rpartition("//")[2].rpartition(":")
    if not colon or not port.isdigit():
        return ""
    try:
        socket.create_connection((host, int(port)), CONNECT_S).close()
    except (OSError, OverflowError) as error:
        return getattr(error, "strerror", None) or str(error)
    return ""


def _no_ray(where: str, why: str) -> NoCluster:
    return NoCluster(
        f"no Ray cluster at {where} ({why}); start one with `ray start --head`, or leave the "
        "address out to use this machine"
    )


def refuse(settings: dict[str, str], known: str) -> None:
    """Raise BadSetting where some are left."""
    if settings:
        raise BadSetting(f"--cluster {'; '.join(settings)}: not known here; there is: {known}")
