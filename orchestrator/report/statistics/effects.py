"""Effects of the factors of a designed ablation, by least squares with the seed as block.

Model: value = mean + block + main effects (+ two-factor interactions) + noise, fitted by statsmodels; blocks are fixed
effects, so what a seed adds to all arms cancels. Factors are coded sum to zero: a main effect is the average over the
levels of the others, as in Montgomery, Design and Analysis of Experiments, chapters 5 to 8, and Yates (1937).

The intervals and p values take the noise as independent and equally wide at all levels. Effects that the runs cannot
tell apart are left out:

- A main effect has to be told apart from the blocks and the other main effects.
- An interaction has to be told apart from everything. Where main effects are aliased with interactions (resolution
  III, or an empty cell), the aliased interactions are taken for zero. Where interactions are aliased with one another
  only, all of them stay in the fit, so that what they explain is not noise, but none is reported.
"""

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from orchestrator.report.statistics.adjusted import holm
from orchestrator.report.statistics.sign_flip import CONFIDENCE, Floats

if TYPE_CHECKING:
    from statsmodels.regression.linear_model import RegressionResults

Row = tuple[Mapping[str, object], int, float]
"""Level of every factor, block, value of one complete run."""

NOISELESS = 1e-12
"""Residuals smaller than this, relative to the largest value, are rounding and no measure of noise."""


@dataclass(frozen=True)
class Effect:
    """What a factor, or two together, do to the metric, in its units."""

    name: str
    """The factor's path, or two joined by a colon."""
    levels: tuple[object, ...]
    """Levels that were compared, in the factor's order; empty for an interaction."""
    estimate: float | None
    """Two levels: mean at the second minus mean at the first. Interaction of two such factors: half the change of the
    one's effect between the levels of the other, on the scale of a main effect. None where a factor has more levels."""
    low: float | None
    """95 % confidence interval of the estimate; None without an estimate, or without noise to judge it by."""
    high: float | None
    p: float | None
    """t-test of the estimate, F-test where a factor has more than two levels; None without noise to judge by."""
    p_adjusted: float | None
    """Holm over all effects that have a p."""
    df: int
    """Residual degrees of freedom."""
    n: int
    """Number of runs in the fit."""


@dataclass(frozen=True)
class _Term:
    """Columns of the model that belong together."""

    name: str
    levels: tuple[object, ...]
    columns: Floats
    """[n, degrees of freedom of the term]."""


def effects(rows: Sequence[Row], factors: Mapping[str, tuple[object, ...]], *, interactions: bool) -> list[Effect]:
    """Estimate the main effects of the factors, then the interactions of two, as far as the runs can tell them apart.

    Args:
        rows: complete runs, one each; cells may be missing or repeated. NaN and infinite values are left out.
        factors: levels of each factor, the baseline's first. Levels without a run are left out of the comparison.
        interactions: whether the model holds two-factor interactions.

    Raises:
        ValueError: a row lacks a factor, or has a level that the factor does not name.
    """
    runs = [row for row in rows if math.isfinite(row[2])]
    if not runs:
        return []
    nuisance = [_Term("", (), np.ones((len(runs), 1))), *_coded("", [block for _, block, _ in runs])]
    mains = [term for name, levels in factors.items() for term in _main(name, levels, runs)]
    pairs = [_interaction(a, b) for a, b in combinations(mains, 2)] if interactions else []
    fitted, distinct = _estimable(nuisance, mains, pairs)
    if not distinct:
        return []
    fit = _least_squares(np.array([value for _, _, value in runs]), _matrix(fitted))
    return _holm([_effect(term, fit, position) for term, position in _positions(fitted) if term.name in distinct])


def _main(name: str, levels: tuple[object, ...], runs: Sequence[Row]) -> list[_Term]:
    positions = []
    for row, _, _ in runs:
        if name not in row or row[name] not in levels:
            raise ValueError(
                f"{name}: {row.get(name)!r} in a run; the factor has the levels {', '.join(map(repr, levels))}"
            )
        positions.append(levels.index(row[name]))
    present = tuple(levels[i] for i in sorted(set(positions)))
    return [replace(term, levels=present) for term in _coded(name, positions)]


def _coded(name: str, values: Sequence[int]) -> list[_Term]:
    """Sum-to-zero columns: -1/2, 1/2 for two levels, else 1 at the column's own level and -1 at the last."""
    levels = sorted(set(values))
    if len(levels) < 2:
        return []  # nothing varies
    code = (
        np.array([[-0.5], [0.5]]) if len(levels) == 2 else np.vstack([np.eye(k := len(levels) - 1), -np.ones((1, k))])
    )
    return [_Term(name, tuple(levels), code[np.searchsorted(levels, values)])]


def _interaction(a: _Term, b: _Term) -> _Term:
    """Products of the columns; twice, so that two two-level factors give -1/2 and 1/2 again."""
    products = a.columns[:, :, None] * b.columns[:, None, :]
    return _Term(f"{a.name}:{b.name}", (), 2 * products.reshape(len(products), -1))


def _estimable(
    nuisance: Sequence[_Term], mains: Sequence[_Term], pairs: Sequence[_Term]
) -> tuple[list[_Term], set[str]]:
    """The terms to fit and the names of those among them to report."""
    aliased = _aliased([*nuisance, *mains])
    distinct = {term.name for term in mains} - aliased
    aliased_too = _aliased([*nuisance, *mains, *pairs])
    if distinct & aliased_too:
        pairs = [pair for pair in pairs if pair.name not in aliased_too]
    reported = distinct | {pair.name for pair in pairs if pair.name not in aliased_too}
    return [*nuisance, *mains, *pairs], reported


def _aliased(terms: Sequence[_Term]) -> set[str]:
    """Names of terms with a coefficient that the runs do not determine.

    A coefficient is determined where no combination of columns that adds up to zero involves its own (Searle, Linear
    Models, 1971, on estimable functions).
    """
    from scipy.linalg import null_space  # late: only designed ablations ask for it

    free = np.abs(null_space(_matrix(terms))).max(axis=1, initial=0.0) > 1e-8
    return {term.name for term, position in _positions(terms) if free[position].any()}


def _least_squares(values: Floats, matrix: Floats) -> "RegressionResults":
    """The fit of smallest norm: aliased coefficients are arbitrary, and not reported; the others are determined."""
    from statsmodels.regression.linear_model import OLS  # late: it takes a second to import
    from statsmodels.tools.sm_exceptions import SingularMatrixWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularMatrixWarning)
        return OLS(values, matrix).fit()


def _positions(terms: Sequence[_Term]) -> Iterable[tuple[_Term, slice]]:
    """Each term with the positions of its columns in the model's matrix."""
    start = 0
    for term in terms:
        width = term.columns.shape[1]
        yield term, slice(start, start + width)
        start += width


def _matrix(terms: Sequence[_Term]) -> Floats:
    return np.hstack([term.columns for term in terms])


def _effect(term: _Term, fit: "RegressionResults", position: slice) -> Effect:
    single = term.columns.shape[1] == 1
    estimate = float(fit.params[position][0]) if single else None
    low, high, p = _judged(fit, position) if _has_noise(fit) else (None, None, None)
    return Effect(term.name, term.levels, estimate, low, high, p, None, round(fit.df_resid), round(fit.nobs))


def _judged(fit: "RegressionResults", position: slice) -> tuple[float | None, float | None, float]:
    """Low, high (one coefficient only) and p."""
    if position.stop - position.start > 1:
        return None, None, float(fit.f_test(np.eye(len(fit.params))[position]).pvalue)
    low, high = fit.conf_int(alpha=1 - CONFIDENCE)[position.start]
    return float(low), float(high), float(fit.pvalues[position.start])


def _has_noise(fit: "RegressionResults") -> bool:
    """Whether residuals are left to judge effects by: the fit is not saturated, the values not noiseless."""
    scale = np.abs(fit.model.endog).max()
    return bool(fit.df_resid > 0 and np.abs(fit.resid).max() > NOISELESS * scale)


def _holm(estimated: Sequence[Effect]) -> list[Effect]:
    tested = [effect.p for effect in estimated if effect.p is not None]
    adjusted = iter(holm(tested))
    return [replace(effect, p_adjusted=None if effect.p is None else float(next(adjusted))) for effect in estimated]
