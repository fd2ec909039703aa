"""Alpha spending: how much of a level a test at several looks may have spent at each (Lan, DeMets, Biometrika 1983).

Both functions grow with time and with the level, and have spent the whole level at the last look:

- ``pocock``: level log(1 + (e - 1) t), nearly even over the looks, as Pocock's boundaries (Biometrika 64, 1977);
- ``obrien_fleming``: 2 - 2 Phi(z / sqrt(t)), z the upper level/2 quantile, nearly nothing at first, as O'Brien and
  Fleming's (Biometrics 35, 1979).

``t`` is the planned share of seeds, not that of the pairs which came about: failed runs move no level.
"""

import math
from typing import Literal, TypeAlias, assert_never

import numpy as np

from orchestrator.report.statistics.sign_flip import Floats

Spending: TypeAlias = Literal["pocock", "obrien_fleming"]


def spent(spending: Spending, time: float, level: Floats | float) -> Floats:
    """What may be spent of levels at a share of the seeds, in (0, 1]."""
    levels = np.asarray(level, dtype=np.float64)
    if time == 1:
        return levels
    match spending:
        case "pocock":
            return levels * math.log1p((math.e - 1) * time)
        case "obrien_fleming":
            from scipy.special import ndtr, ndtri  # late: only few studies ask, as below

            values: Floats = 2 * ndtr(ndtri(levels / 2) / math.sqrt(time))
            return values
        case _:
            assert_never(spending)


def level_to_spend(spending: Spending, time: float, share: Floats | float) -> Floats:
    """The level of which just these shares may have been spent: `spent` turned round; it may exceed 1."""
    shares = np.asarray(share, dtype=np.float64)
    if time == 1:
        return shares
    match spending:
        case "pocock":
            return shares / math.log1p((math.e - 1) * time)
        case "obrien_fleming":
            from scipy.special import ndtr, ndtri

            levels: Floats = 2 * ndtr(ndtri(shares / 2) * math.sqrt(time))
            return levels
        case _:
            assert_never(spending)
