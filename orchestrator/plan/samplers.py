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

from orchestrator.plan.optuna_internals import SequencedQMC
from orchestrator.studyfile import Choice, Domain, Float, Int
from orchestrator.studyfile.sections.search import (
    ASHA,
    CMAES,
    GP,
    NSGAII,
    QMC,
    TPE,
    Grid,
    Hyperband,
    Median,
    Patient,
    Pruner,
    Random,
    Sampler,
)


def distribution(domain: Domain) -> BaseDistribution:
    """Optuna's form of a domain."""
    match domain:
        case Float():
            return FloatDistribution(domain.low, domain.high, log=domain.log, step=domain.step)
        case Int():
            return IntDistribution(domain.low, domain.high, log=domain.log, step=domain.step)
        case Choice():
            return CategoricalDistribution(domain.labels)
        case _:
            assert_never(domain)


def build_sampler(
    config: Sampler, *, study_seed: int, trial_seed: int, number: int, flat: Mapping[str, Domain]
) -> BaseSampler:
    """The sampler that suggests search trial ``number``.

    Args:
        config: The ``search.sampler``
        study_seed: Seed of the study, for sequences that span trials (Sobol).
        trial_seed: Seed of this trial's draws.
        number: Position of the trial in the search, from 0.
        flat: The unconditional domains by name.
    """
    match config:
        case TPE():
            return optuna.samplers.TPESampler(
                n_startup_trials=config.startup_trials,
                multivariate=True,
                group=True,
                constant_liar=True,
                seed=trial_seed,
            )
        case GP():
            return optuna.samplers.GPSampler(
                n_startup_trials=config.startup_trials, seed=trial_seed, warn_independent_sampling=False
            )
        case Random() | Grid():  # a grid's cells are enqueued; nothing is left to draw
            return optuna.samplers.RandomSampler(seed=trial_seed)
        case QMC():
            space = {name: distribution(domain) for name, domain in flat.items()}
            return SequencedQMC(study_seed, number, space)
        case NSGAII():
            return optuna.samplers.NSGAIISampler(population_size=config.population, seed=trial_seed)
        case CMAES():
            return optuna.samplers.CmaEsSampler(
                n_startup_trials=config.startup_trials, seed=trial_seed, warn_independent_sampling=False
            )
        case _:
            assert_never(config)


def build_pruner(config: Pruner | None, epochs: int) -> BasePruner:
    """The pruner of a study whose trials last at most ``epochs`` epochs."""
    match config:
        case None:
            return optuna.pruners.NopPruner()
        case ASHA():
            return optuna.pruners.SuccessiveHalvingPruner(
                min_resource=config.grace(epochs), reduction_factor=config.reduction_factor
            )
        case Hyperband():
            return optuna.pruners.HyperbandPruner(
                min_resource=config.grace(epochs), max_resource=epochs, reduction_factor=config.reduction_factor
            )
        case Median():
            return optuna.pruners.MedianPruner(
                n_startup_trials=config.startup_trials, n_warmup_steps=config.grace(epochs)
            )
        case Patient():
            return optuna.pruners.PatientPruner(None, patience=config.patience, min_delta=config.min_delta)
        case _:
            assert_never(config)
