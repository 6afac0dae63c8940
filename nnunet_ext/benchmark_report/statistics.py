"""Paired comparisons over cases.

All tests take each case once: in a cross-validation every case is validated by exactly one fold's network. They say
how sure a difference is for these trained networks; what another seed would give they do not know.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

RESAMPLES = 9999
SEED = 0
DIGITS = 12
"""To which values are rounded before they are ranked: sums in another order are still ties."""
LEVEL = 0.05


@dataclass(frozen=True)
class Comparison:
    """One network against the reference, over cases."""

    cases: int
    """Pairs: cases for which both networks have a finite value."""
    difference: float
    """Mean of network minus reference."""
    interval: tuple[float, float] | None
    """Bootstrap 95 % interval of that mean; None for fewer than two cases."""
    effect: float
    """Matched-pairs rank-biserial correlation, from -1 to 1: (R+ - R-) / (R+ + R-) with Wilcoxon's rank sums."""
    p: float
    """Two-sided Wilcoxon signed-rank test."""


def compare(values: Values, reference: Values) -> Comparison | None:
    """Compare two networks case by case; None without a common case.

    Cases without a difference leave the test (Wilcoxon's own rule). SciPy computes p exactly up to 50 cases (13 with
    ties or zeros), else from the normal approximation.
    """
    from scipy import stats

    differences = np.round(values - reference, DIGITS)
    differences = differences[np.isfinite(differences)]
    if len(differences) == 0:
        return None
    unequal = differences[differences != 0]
    if len(unequal) == 0:
        return Comparison(len(differences), 0.0, interval(differences), 0.0, 1.0)
    ranks = stats.rankdata(np.abs(unequal))
    effect = float(np.sum(np.sign(unequal) * ranks) / np.sum(ranks))
    p = float(stats.wilcoxon(unequal).pvalue)
    return Comparison(len(differences), float(differences.mean()), interval(differences), effect, p)


def interval(differences: Values) -> tuple[float, float] | None:
    """Bootstrap 95 % interval (percentiles) of the mean over cases, the same in every run."""
    from scipy import stats

    if len(differences) < 2:
        return None
    found = stats.bootstrap(
        (differences,), np.mean, n_resamples=RESAMPLES, batch=1000, method="percentile", rng=np.random.default_rng(SEED)
    ).confidence_interval
    return float(found.low), float(found.high)


def holm(p_values: list[float]) -> list[float]:
    """Holm's step-down correction of a family of p values, in the given order."""
    order = np.argsort(p_values, kind="stable")
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for place, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[index]))
        corrected[index] = highest
    return corrected


@dataclass(frozen=True)
class Ranking:
    """Friedman's test with the mean ranks of all networks, 1 the best."""

    cases: int
    p: float
    ranks: list[float]
    critical_difference: float
    """Nemenyi's, at the level of 5 %."""


def friedman(values: Values, higher_is_better: bool) -> Ranking | None:
    """Rank networks on each case; `values` is (cases, networks).

    None where the test does not exist: fewer than three networks or two cases, or networks that are equal everywhere.
    Cases with a value that is not finite are left out.
    """
    from scipy import stats

    values = np.round(values[np.isfinite(values).all(axis=1)], DIGITS)
    cases, networks = values.shape
    if networks < 3 or cases < 2 or np.all(values == values[:, :1]):
        return None
    ranks = stats.rankdata(-values if higher_is_better else values, axis=1).mean(axis=0)
    p = float(stats.friedmanchisquare(*values.T).pvalue)
    return Ranking(cases, p, [float(rank) for rank in ranks], critical_difference(networks, cases))


def critical_difference(networks: int, cases: int) -> float:
    """Nemenyi's critical difference of mean ranks at 5 % (Demsar, JMLR 7, 2006)."""
    from scipy import stats

    q = stats.studentized_range.ppf(1 - LEVEL, networks, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(networks * (networks + 1) / (6 * cases)))


def groups(ranks: list[float], critical: float) -> list[tuple[float, float]]:
    """The longest stretches of ranks that the critical difference does not part, as (first, last)."""
    ordered = sorted(ranks)
    found: list[tuple[float, float]] = []
    end = -1
    for start, first in enumerate(ordered):
        last = max(index for index, rank in enumerate(ordered) if rank - first <= critical)
        if last > max(start, end):
            found.append((first, ordered[last]))
            end = last
    return found
