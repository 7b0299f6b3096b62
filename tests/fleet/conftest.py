"""Fleets of tests: many runs of few plans, which share their compiled programs."""

import pytest

from hyperpolicy.fleet.off_policy import OffPolicyRunner
from hyperpolicy.fleet.on_policy import OnPolicyRunner


@pytest.fixture(autouse=True, scope="package")
def shared_programs():
    """Runs of equal plans and as many learners trace and compile once: that takes seconds, to run
    them milliseconds."""
    programs: dict = {}

    def remembering(compile):
        def found(self):
            work = self.work
            key = type(self), self.cfg, self.learner, self.schedule, work.family, work.view, self.n
            if key not in programs:
                programs[key] = compile(self)
            return programs[key]

        return found

    with pytest.MonkeyPatch.context() as patch:
        for runner in (OffPolicyRunner, OnPolicyRunner):
            patch.setattr(runner, "_compile", remembering(runner._compile))
        yield
