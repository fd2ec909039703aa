"""Optuna samplers and pruners from their sections of a study file.

A sampler is built anew for each trial with a seed derived from the trial's number, so that suggestion n is a function
of (study seed, n, the records known) and not of the process that happens to ask.
"""

from collections.abc import Mapping
from typing import assert_never

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler

from orchestrator.studyfile import Choice, Domain, Float, Int
from orchestrator.studyfile.sections import search as section


class _SequencedQMC(optuna.samplers.QMCSampler):
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
        return self._space

    def _find_sample_id(self, study: optuna.Study, search_space: dict[str, BaseDistribution]) -> int:  # noqa: ARG002
        return self._index


def distribution(domain: Domain) -> BaseDistribution:
    """Optuna's form of a domain."""
    match domain:
        case Float():
            return FloatDistribution(domain.low, domain.high, log=domain.log, step=domain.step)
        case Int():
            return IntDistribution(domain.low, domain.high, log=domain.log, step=domain.step or 1)
        case Choice():
            return CategoricalDistribution(domain.labels)
        case _:
            assert_never(domain)


def build_sampler(
    config: section.Sampler, *, study_seed: int, trial_seed: int, number: int, flat: Mapping[str, Domain]
) -> BaseSampler:
    """The sampler that suggests search trial ``number``.

    Args:
        config: The ``search.sampler`` section.
        study_seed: Seed of the study, for sequences that span trials (Sobol).
        trial_seed: Seed of this trial's draws.
        number: Position of the trial in the search, from 0.
        flat: The unconditional domains by name.
    """
    match config:
        case section.TPE():
            return optuna.samplers.TPESampler(
                n_startup_trials=config.startup_trials,
                multivariate=True,
                group=True,
                constant_liar=True,
                seed=trial_seed,
            )
        case section.GP():
            return optuna.samplers.GPSampler(
                n_startup_trials=config.startup_trials, seed=trial_seed, warn_independent_sampling=False
            )
        case section.Random() | section.Grid():  # a grid's cells are enqueued; nothing is left to draw
            return optuna.samplers.RandomSampler(seed=trial_seed)
        case section.QMC():
            space = {name: distribution(domain) for name, domain in flat.items()}
            return _SequencedQMC(study_seed, number, space)
        case section.NSGAII():
            return optuna.samplers.NSGAIISampler(population_size=config.population, seed=trial_seed)
        case section.CMAES():
            return optuna.samplers.CmaEsSampler(
                n_startup_trials=config.startup_trials, seed=trial_seed, warn_independent_sampling=False
            )
        case _:
            assert_never(config)


def build_pruner(config: section.Pruner | None, epochs: int) -> BasePruner:
    """The pruner of a study whose trials last at most ``epochs`` epochs."""
    match config:
        case None:
            return optuna.pruners.NopPruner()
        case section.ASHA():
            return optuna.pruners.SuccessiveHalvingPruner(
                min_resource=config.grace(epochs), reduction_factor=config.reduction_factor
            )
        case section.Hyperband():
            return optuna.pruners.HyperbandPruner(
                min_resource=config.grace(epochs), max_resource=epochs, reduction_factor=config.reduction_factor
            )
        case section.Median():
            return optuna.pruners.MedianPruner(
                n_startup_trials=config.startup_trials, n_warmup_steps=config.grace(epochs)
            )
        case section.Patient():
            return optuna.pruners.PatientPruner(None, patience=config.patience, min_delta=config.min_delta)
        case _:
            assert_never(config)
