"""P values of several tests made together, adjusted: Holm's method and that of Benjamini and Hochberg.

In numpy alone: statsmodels' `multipletests`, which the tests compare them with, takes a second to import and has
Python's collector run on every call.

Sources: Holm, Scand. J. Statist. 6, 1979; Benjamini, Hochberg, JRSS B 57, 1995.
"""

from collections.abc import Sequence

import numpy as np

from orchestrator.report.statistics.sign_flip import Floats


def holm(ps: Sequence[float]) -> Floats:
    """Bound the chance of a single false rejection: [n] p values -> [n] adjusted ones."""
    p = np.asarray(ps, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1)))
    return adjusted


def benjamini_hochberg(ps: Sequence[float]) -> Floats:
    """Bound the expected share of false rejections: [n] p values -> [n] adjusted ones."""
    p = np.asarray(ps, dtype=np.float64)
    order = np.argsort(p, kind="stable")[::-1]
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.minimum.accumulate(p[order] * (p.size / np.arange(p.size, 0, -1))))
    return adjusted
