"""Episodes as policies play them, whole, for storage."""

import numpy as np
from jaxtyping import Float

from hyperpolicy import headers
from hyperpolicy.data.episodes import Episode, Episodes
from hyperpolicy.envs import Family
from hyperpolicy.policies import Actor, Policies
from hyperpolicy.rollout.actors import Greedy
from hyperpolicy.rollout.loop import Moment
from hyperpolicy.rollout.result import moments, paired


class Recording:
    """The recorder of whole episodes; one whose simulation broke is left out."""

    def __init__(self, contexts: Float[np.ndarray, "n c"], starts, makers: list[str]):
        """Job i·e + j is policy i's, in the world of seed `starts[i, j]`."""
        self.contexts, self.starts, self.makers = contexts, starts, makers
        self._moments: list[Moment] = []
        self._episodes: dict[int, Episode] = {}

    def see(self, moment: Moment) -> None:
        """Keep one step, and make an episode of what ends with it."""
        rows = len(moment.alive)
        obs, action = (np.asarray(x).reshape(rows, -1) for x in (moment.obs, moment.action))
        self._moments.append(moment._replace(obs=obs, action=action))
        for place in np.flatnonzero(moment.over & ~moment.step.broken).tolist():
            self._episodes[int(moment.job[place])] = self._episode(place)
        if not (moment.alive & ~moment.over).any():
            self._moments.clear()

    def _episode(self, place: int) -> Episode:
        last = self._moments[-1]
        shown = self._moments[-1 - int(last.t[place]) :]
        job, step = int(last.job[place]), last.step
        policy, e = divmod(job, self.starts.shape[1])
        return Episode(
            context=self.contexts[policy],
            obs=np.array([*(m.obs[place] for m in shown), step.next_obs[place]], np.float32),
            action=np.array([m.action[place] for m in shown], np.float32),
            reward=np.array([m.step.reward[place] for m in shown], np.float32),
            outcome=np.array([m.step.outcome[place] for m in shown], np.float32),
            terminated=bool(step.terminated[place]),
            truncated=bool(step.truncated[place]),
            seed=int(self.starts[policy, e]),
            policy=policy,
            made_by=self.makers[policy],
        )

    def episodes(self, family: Family) -> Episodes:
        """The episodes in the order of their jobs."""
        return Episodes.of(family, [one for _, one in sorted(self._episodes.items())])


def record(
    who: Actor | Policies,
    family: Family,
    contexts: Float[np.ndarray, "n c"],
    episodes: int = 1,
    seed: int = 0,
    made_by: str | None = None,
) -> Episodes:
    """The paired episodes of policy i in context i, policy by policy; those whose simulation broke
    are left out. They are `made_by` that name, or by policies that bear their weights' SHA-256.

    Raises:
        BadContext, BadShape, BadSetting: as `returns`.
    """
    contexts = family.context.check(contexts)
    starts = paired(len(contexts), episodes, seed)
    recording = Recording(contexts, starts, _makers(who, len(contexts), made_by))
    for moment in moments(who, family, contexts, starts, seed):
        recording.see(moment)
    return recording.episodes(family)


def _makers(who: Actor | Policies, n: int, name: str | None) -> list[str]:
    policies = who.policies if isinstance(who, Greedy) else who
    if name is None and isinstance(policies, Policies):
        return [headers.digest({"weights": row}) for row in policies.weights]
    return [name or type(who).__name__] * n
