"""The statistics against values from the literature and worked by hand."""

import math

import numpy as np
import pytest

from nnunet_ext.benchmark_report import statistics

ZEROS = np.zeros(6)


def test_wilcoxon_of_all_positive_differences() -> None:
    # Of the 2^6 sign patterns only "all plus" and "all minus" are as extreme: p = 2/64.
    found = statistics.compare(np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]), ZEROS)
    assert found is not None
    assert found.p == pytest.approx(2 / 64)
    assert found.effect == 1
    assert found.difference == pytest.approx(0.35)
    assert found.cases == 6


def test_wilcoxon_with_one_negative_difference() -> None:
    # The smallest difference is negative: R- = 1, R+ = 20. Patterns with R- <= 1: 2, on two sides 4 of 64.
    found = statistics.compare(np.array([-0.1, 0.2, 0.3, 0.4, 0.5, 0.6]), ZEROS)
    assert found is not None
    assert found.p == pytest.approx(4 / 64)
    assert found.effect == pytest.approx(19 / 21)


def test_wilcoxon_with_ties_and_zeros() -> None:
    # Without the zeros four equal differences are left, mean rank 2.5 each: R+ = 7.5, R- = 2.5.
    # Patterns as extreme: at most one sign differs from the others, 2 (1 + 4) of 16.
    found = statistics.compare(np.array([0.5, 0.5, 0.5, -0.5, 0.0, 0.0]), ZEROS)
    assert found is not None
    assert found.p == pytest.approx(10 / 16)
    assert found.effect == pytest.approx(0.5)
    assert found.cases == 6


def test_ties_of_decimal_fractions_are_ties() -> None:
    # 0.83 - 0.82 and 0.73 - 0.72 are not the same number in binary. All signs equal but one: 2 (1 + 4) of 16.
    found = statistics.compare(np.array([0.83, 0.73, 0.33, 0.11]), np.array([0.82, 0.72, 0.32, 0.12]))
    assert found is not None
    assert found.effect == pytest.approx(0.5)
    assert found.p == pytest.approx(10 / 16)


def test_equal_networks_do_not_differ() -> None:
    found = statistics.compare(np.full(6, 0.8), np.full(6, 0.8))
    assert found is not None
    assert (found.p, found.effect, found.difference, found.interval) == (1, 0, 0, (0, 0))


def test_cases_without_a_value_are_left_out() -> None:
    found = statistics.compare(np.array([0.2, math.nan, 0.4, math.inf]), np.array([0.1, 0.1, 0.1, 0.1]))
    assert found is not None
    assert found.cases == 2
    assert found.difference == pytest.approx(0.2)
    assert statistics.compare(np.array([math.nan]), np.array([0.1])) is None


def test_one_case_has_no_interval() -> None:
    found = statistics.compare(np.array([0.9]), np.array([0.8]))
    assert found is not None
    assert found.interval is None
    assert found.p == 1


def test_interval_is_that_of_the_normal_distribution_for_many_cases() -> None:
    draw = np.random.default_rng(1).normal(0.02, 0.1, 400)
    low, high = statistics.interval(draw) or (0, 0)
    error = 1.96 * draw.std() / 20
    assert low == pytest.approx(draw.mean() - error, abs=0.1 * error)
    assert high == pytest.approx(draw.mean() + error, abs=0.1 * error)
    assert statistics.interval(draw) == (low, high), "the same in every run"


def test_holm_by_hand() -> None:
    # Sorted: 0.005 * 4, 0.01 * 3, 0.03 * 2, and 0.04 * 1, which may not be below the one before.
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.6, 0.7]) == [1, 1]
    assert statistics.holm([]) == []


def test_critical_difference_is_the_published_table() -> None:
    # q at 5 % of Demsar, Statistical comparisons of classifiers over multiple data sets, JMLR 7 (2006), table 5a.
    table = {2: 1.960, 3: 2.343, 4: 2.569, 5: 2.728, 6: 2.850, 7: 2.949, 8: 3.031, 9: 3.102, 10: 3.164}
    for networks, q in table.items():
        cases = 14
        expected = q * math.sqrt(networks * (networks + 1) / (6 * cases))
        assert statistics.critical_difference(networks, cases) == pytest.approx(expected, abs=6e-4)


def test_groups_of_demsars_example() -> None:
    # His ranks; with 1.25 (5 %) all are one group, with 1.12 (10 %) the extremes differ.
    ranks = [3.143, 2.000, 2.893, 1.964]
    assert statistics.groups(ranks, 1.25) == [(1.964, 3.143)]
    assert statistics.groups(ranks, 1.12) == [(1.964, 2.893), (2.893, 3.143)]
    assert statistics.groups(ranks, 0.01) == []


def test_friedman_by_hand() -> None:
    # Ranks 1, 2, 3 in every one of 4 cases: chi2 = 12 / (4 * 3 * 4) * (4^2 + 8^2 + 12^2) - 3 * 4 * 4 = 8, 2 degrees.
    values = np.array([[0.9, 0.8, 0.7]] * 3 + [[0.6, 0.5, 0.1]])
    found = statistics.friedman(values, higher_is_better=True)
    assert found is not None
    assert found.ranks == [1, 2, 3]
    assert found.p == pytest.approx(math.exp(-4))
    below = statistics.friedman(values, higher_is_better=False)
    assert below is not None
    assert below.ranks == [3, 2, 1]


def test_friedman_shares_ranks_of_ties_and_leaves_out_cases_without_a_value() -> None:
    values = np.array([[0.9, 0.9, 0.7], [0.9, 0.9, 0.7], [math.nan, 0.1, 0.2]])
    found = statistics.friedman(values, higher_is_better=True)
    assert found is not None
    assert found.ranks == [1.5, 1.5, 3]
    assert found.cases == 2


@pytest.mark.parametrize(
    "values", [np.full((5, 3), 0.8), np.array([[0.1, 0.2, 0.3]]), np.array([[0.1, 0.2], [0.3, 0.4]])]
)
def test_no_friedman_test_of_equals_of_one_case_or_of_two_networks(values: np.ndarray) -> None:
    assert statistics.friedman(values, higher_is_better=True) is None
