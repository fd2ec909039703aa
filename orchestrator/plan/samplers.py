"""Optuna samplers and pruners from their sections of a study file.

A sampler is built anew for each trial with a seed derived from the trial's number, so that suggestion n is a function
of (study seed, n, the records known) and not of the process that happens to ask.
"""

from collections.abc import Mapping
from typing import assert_never

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    PatientPruner,
    SuccessiveHalvingPruner,
)
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, RandomSampler

from orchestrator.plan.optuna_internals import SequencedQMC
from orchestrator.plan.tpe import QuickGroupTPE, TrialTable
from orchestrator.studyfile import Choice, Domain, Float, Int, SearchSpace
from orchestrator.studyfile.sections import search
from orchestrator.studyfile.space.ramps import longest_plain_beginning, searched_ramps


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
    config: search.Sampler, *, study_seed: int, seed: int, number: int, flat: Mapping[str, Domain], table: TrialTable
) -> BaseSampler:
    """The sampler that suggests search trial ``number``.

    Args:
        config: The ``search.sampler`` section.
        study_seed: Seed of the study, for sequences that span trials (Sobol).
        seed: Seed of this trial's draws.
        number: Position of the trial in the search, from 0.
        flat: The unconditional domains by name.
        table: What TPE has read of the study's trials, one for all its suggestions.
    """
    match config:
        case search.TPE(startup_trials=startup):
            return QuickGroupTPE(startup, seed, table)
        case search.GP(startup_trials=startup):
            return GPSampler(n_startup_trials=startup, seed=seed, warn_independent_sampling=False)
        case search.Random() | search.Grid():  # a grid's cells are enqueued; nothing is left to draw
            return RandomSampler(seed=seed)
        case search.QMC():
            return SequencedQMC(study_seed, number, {name: distribution(domain) for name, domain in flat.items()})
        case search.NSGAII():
            return NSGAIISampler(population_size=config.population, seed=seed)
        case search.CMAES(startup_trials=startup):
            return CmaEsSampler(n_startup_trials=startup, seed=seed, warn_independent_sampling=False)
        case _:
            assert_never(config)


def build_pruner(config: search.Pruner | None, space: SearchSpace) -> BasePruner:
    """The pruner of a study's trials."""
    epochs = space.max_epochs()
    match config:
        case None:
            return NopPruner()
        case search.ASHA(reduction_factor=factor):
            return SuccessiveHalvingPruner(min_resource=_grace(config, space), reduction_factor=factor)
        case search.Hyperband(reduction_factor=factor):
            return HyperbandPruner(_grace(config, space), max_resource=epochs, reduction_factor=factor)
        case search.Median(startup_trials=startup):
            return MedianPruner(n_startup_trials=startup, n_warmup_steps=_grace(config, space))
        case search.Patient():
            return PatientPruner(None, patience=config.patience, min_delta=config.min_delta)
        case _:
            assert_never(config)


def _grace(config: search.ASHA | search.Hyperband | search.Median, space: SearchSpace) -> int:
    epochs, ramps_differ = space.max_epochs(), bool(searched_ramps(space.tree))
    plain_epochs = longest_plain_beginning(space.tree, epochs)
    return config.grace(epochs, ramps_differ=ramps_differ, plain_epochs=plain_epochs)


def early_stopping(config: search.Pruner | None, space: SearchSpace) -> str:
    """From when on trials may be stopped early, and why, in words."""
    epochs, ramps = space.max_epochs(), searched_ramps(space.tree)
    match config:
        case None:
            return "none: every trial is trained to its end"
        case search.Patient():
            return f"{config.name}, after {config.patience} epochs without improvement"
        case search.ASHA() | search.Hyperband() | search.Median():
            grace, plain = _grace(config, space), longest_plain_beginning(space.tree, epochs)
            half = config.grace_epochs is None and grace > config.grace(epochs, plain_epochs=plain)
            after = " after the latest start" if plain else ""
            why = f": half the training{after}, as trials differ in {' and '.join(ramps)}" if half else ""
            return f"{config.name}, after epoch {grace} of {epochs}{why}"
        case _:
            assert_never(config)
