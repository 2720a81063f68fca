"""Evidence over nights: e-processes, e-BH, and e-detectors of drift."""

from itertools import zip_longest
from math import log, prod

import numpy as np
import pytest
from scipy import integrate, special

from claims.evidence import equivalence, frequency, superiority
from claims.evidence.drift import SHIFTS, Detectors
from claims.evidence.nights import (
    DECIDED,
    any_place,
    beyond,
    listed,
    log_e,
    null_shares,
)


def mixture(hits, n, share):
    """The same e-value by quadrature over the shares that are bet on."""

    def bet(t):
        return (t / share) ** hits * ((1 - t) / (1 - share)) ** (n - hits)

    return integrate.quad(bet, share, 1, limit=200)[0] / (1 - share)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.1])
@pytest.mark.parametrize(("hits", "n"), [(0, 0), (1, 1), (0, 4), (9, 10), (33, 60)])
def test_the_closed_form_is_the_mixture(hits, n, share):
    assert np.exp(log_e(hits, n, share)) == pytest.approx(mixture(hits, n, share))


@pytest.mark.parametrize("share", [0.5, 0.9, 0.1])
def test_a_fair_coin_leaves_the_expectation_where_it_is(share):
    """At the null's share the e-process is a martingale, below it loses."""
    for n in range(12):
        for hits in range(n + 1):
            now = np.exp(log_e(hits, n, share))
            hit, miss = np.exp(log_e([hits + 1, hits], [n + 1, n + 1], share))
            assert share * hit + (1 - share) * miss == pytest.approx(now)
            less = 0.8 * share
            assert less * hit + (1 - less) * miss < now


def test_five_thousand_coins_neither_overflow_nor_tell_nothing():
    one_sided = log_e([5000, 2500, 0], [5000] * 3)
    assert one_sided[0] == pytest.approx(5000 * log(2) - log(5001 / 2))
    assert one_sided[1] < 0 and one_sided[2] == -np.inf


@pytest.fixture(scope="module")
def fair():
    """Hits so far of 2,000 places' fair coins, and how many coins."""
    coins = np.random.default_rng(0).random((2000, 1500)) < 0.5
    return coins.cumsum(axis=1), np.arange(1, 1501)


MOST = 0.005 + 3 * np.sqrt(0.005 / 2000)
"""The share of 2,000 places that chance leaves to be decided at a rate of 0.005."""


def ever(log_values):
    return (log_values >= log(DECIDED)).any(axis=1).mean()


def test_a_place_on_its_margin_is_decided_in_fewer_than_one_of_two_hundred(fair):
    """However often one looks: here after each of 1,500 coins."""
    assert 0 < ever(log_e(*fair)) <= MOST


def test_a_bet_that_is_no_martingale_would_be_caught(fair):
    """Planted: the likelihood ratio of the best share, which pays for no choice."""
    hits, n = fair
    best = np.maximum(hits / n, 0.5)
    won = special.xlogy(best, best) + special.xlogy(1 - best, 1 - best)
    assert ever(n * (log(2) + won)) > MOST


def test_coins_of_each_rule():
    values = [2.0, 2.5, -3.0]
    assert beyond(values, *superiority().region(2.0)).tolist() == [
        [False, False],
        [True, False],
        [False, True],
    ]
    inside = beyond(values, *equivalence().region(2.5))
    assert inside.tolist() == [[True, False], [False, False], [False, True]]
    often = frequency(at_least=0.9)
    assert beyond([1.0, 0.0], *often.region(0.9)).tolist() == [
        [True, False],
        [False, True],
    ]
    assert null_shares(often, 0.9) == pytest.approx((0.9, 0.1))
    assert null_shares(superiority(), 0.9) == (0.5, 0.5)


def test_the_list_is_that_of_every_subset_by_hand():
    """The largest k whose k-th e-value is at least m / (k rate)."""
    generator = np.random.default_rng(1)
    for _ in range(200):
        e = np.exp(generator.normal(3, 2, size=12))
        ordered = sorted(e, reverse=True)
        ranks = [k for k in range(1, 13) if ordered[k - 1] >= 12 / (k * 0.05)]
        most = max(ranks, default=0)
        chosen = listed(np.log(e))
        assert chosen.sum() == most
        assert most == 0 or e[chosen].min() == ordered[most - 1]


def test_any_place_pays_for_all_of_them_and_both_directions():
    assert any_place(400) == pytest.approx(log(2 * 400 / 0.01))


def shiryaev_roberts(values, ties):
    """R(n) by its definition, a sum over all beginnings, for each shift; their mean."""
    found = []
    scores = []
    for n, value in enumerate(values, 1):
        before = values[:n]
        less, equal = (before < value).sum(), (before == value).sum()
        scores.append(special.ndtri((less + ties[n - 1] * equal) / n))
        sums = [
            sum(
                prod(np.exp(s * z - s * s / 2) for z in scores[start:])
                for start in range(n)
            )
            for s in SHIFTS
        ]
        found.append(np.mean(sums))
    return found


@pytest.mark.parametrize("digits", [3, 0])  # without and with ties
def test_an_alarm_is_where_the_sum_by_definition_reaches_the_run_length(digits):
    values = np.random.default_rng(5).normal(size=60)
    values[40:] += 4
    values = values.round(digits)
    by_hand = shiryaev_roberts(values, np.random.default_rng(3).random(60))
    detectors = Detectors()
    detectors.add(run_length=500, seeds=[3])
    noticed = [bool(detectors.feed([0], [[value]])) for value in values]
    first = next(n for n, r in enumerate(by_hand) if r >= 500)
    assert noticed.index(True) == first and first > 40


def test_false_alarms_are_as_rare_as_stated():
    """N values with the threshold c give at most N / c alarms on average."""
    generator = np.random.default_rng(0)
    rows = 50
    for draw in (generator.normal, generator.exponential, generator.standard_cauchy):
        detectors = Detectors()
        detectors.add(run_length=200, seeds=range(rows))
        alarms = detectors.feed(range(rows), draw(size=(rows, 200)))
        assert 0 < len(alarms) <= 50 + 3 * np.sqrt(50)


def test_the_alarm_says_since_when_and_from_where_to_where():
    generator = np.random.default_rng(0)
    values = generator.normal(size=(2, 120))
    values[1] += np.where(np.arange(120) < 100, 10, 16)
    values[1, 99] = 9
    detectors = Detectors()
    detectors.add(run_length=10_000, seeds=range(2))
    [(row, alarm)] = detectors.feed([0, 1], values)
    assert (row, alarm.since) == (1, 100)
    assert alarm.before == pytest.approx(10, abs=0.3)
    assert alarm.after == pytest.approx(16, abs=1)


def test_after_an_alarm_all_begins_anew():
    """The second alarm looks back to the first one only."""
    values = np.random.default_rng(2).normal(size=150)
    values[-1] = -1.0
    detectors = Detectors()
    detectors.add(run_length=1e4, seeds=[0])
    assert detectors.feed([0], [values]) == []
    assert detectors.values(0).tolist() == values.tolist()
    [(_, first)] = detectors.feed([0], [np.full(20, 9.0)])
    assert first.since == 150 and first.after == 9.0
    assert detectors.values(0).tolist() == [9.0] * (170 - first.count)
    [(_, second)] = detectors.feed([0], [-values])
    assert second.since == 170 and second.before == 9.0


@pytest.mark.parametrize("together", [7, 300])
def test_values_shown_together_alarm_as_one_by_one(together):
    """Detectors of other lengths, with several alarms and with none, and with ties."""
    generator = np.random.default_rng(0)
    sequences = [generator.normal(size=length).round(1) for length in (90, 300, 300)]
    sequences[1][100:] += 4
    sequences[1][200:] -= 8

    def alarms(at_once):
        detectors = Detectors()
        detectors.add(run_length=1000, seeds=range(3))
        found = []
        for first in range(0, 300, at_once):
            shown = {
                row: values[first : first + at_once]
                for row, values in enumerate(sequences)
                if first < len(values)
            }
            found += detectors.feed(
                [*shown], np.array([*zip_longest(*shown.values(), fillvalue=np.nan)]).T
            )
        return sorted(found, key=lambda pair: (pair[0], pair[1].count))

    one_by_one = alarms(1)
    assert [(row, alarm.since) for row, alarm in one_by_one] == [(1, 100), (1, 200)]
    assert alarms(together) == one_by_one
