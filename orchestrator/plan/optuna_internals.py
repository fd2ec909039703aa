"""What of Optuna no public name gives, as it is in version 5.0: look here first when Optuna is updated."""

from collections.abc import Mapping

import optuna
from optuna.distributions import BaseDistribution


def running_trial(study: optuna.Study) -> optuna.Trial:
    """The study's last trial, as ``ask`` would have given it: ``add_trial`` gives none."""
    return optuna.Trial(study, study.get_trials(deepcopy=False)[-1]._trial_id)


class SequencedQMC(optuna.samplers.QMCSampler):
    """Sobol points by the trial's number: Optuna keeps the index in the study, where a rebuilt study lacks it."""

    def __init__(self, seed: int, index: int, space: Mapping[str, BaseDistribution]) -> None:
        super().__init__(seed=seed, scramble=True, warn_independent_sampling=False)
        self._index = index
        self._space = dict(space)

    def infer_relative_search_space(
        self,
        study: optuna.Study,  # noqa: ARG002 - Optuna's signature
        trial: optuna.trial.FrozenTrial,  # noqa: ARG002
    ) -> dict[str, BaseDistribution]:
        """The space of every trial: none is left to independent sampling."""
        return self._space

    def _find_sample_id(self, study: optuna.Study, search_space: dict[str, BaseDistribution]) -> int:  # noqa: ARG002
        return self._index
