"""What of Optuna no public name gives, as it is in version 5.0: look here and in tpe.py when Optuna is updated."""

from collections.abc import Mapping

from optuna import Study, Trial
from optuna.distributions import BaseDistribution
from optuna.samplers import QMCSampler
from optuna.trial import FrozenTrial

from trainable.configfile.node import JsonObject


def running_trial(study: Study) -> Trial:
    """The study's last trial, as ``ask`` would have given it: ``add_trial`` gives none."""
    return Trial(study, study.get_trials(deepcopy=False)[-1]._trial_id)


def system_attrs(trial: Trial) -> JsonObject:
    """Optuna's notes on a trial as they are now: ``Study.get_trials`` would copy the list of all."""
    return dict(trial.storage.get_trial(trial._trial_id).system_attrs)


class SequencedQMC(QMCSampler):
    """Sobol points by the trial's number: Optuna keeps the index in the study, where a rebuilt study lacks it."""

    def __init__(self, seed: int, index: int, space: Mapping[str, BaseDistribution]) -> None:
        super().__init__(seed=seed, scramble=True, warn_independent_sampling=False)
        self._index = index
        self._space = dict(space)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:  # noqa: ARG002
        """The space of every trial: none is left to independent sampling."""
        return self._space

    def _find_sample_id(self, study: Study, search_space: dict[str, BaseDistribution]) -> int:  # noqa: ARG002
        return self._index
