"""The decision rules against independent arithmetic, and by simulation."""

import dataclasses
import doctest
import itertools
import json
import math
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from claims.evidence import arithmetic, rules
from claims.evidence.arithmetic import flip_p, t_interval
from claims.evidence.rules import (
    ALPHA,
    FEWEST,
    LEANING,
    UNITS,
    Rule,
    Verdict,
    equivalence,
    exact,
    frequency,
    grain_of,
    noninferiority,
    superiority,
    trend,
)
from reports import details
from reports.details import remark

SUPPORTED, REFUTED, INCONCLUSIVE = Verdict

# Student 1908: additional hours of sleep of ten patients, second drug over the first.
# His t is 4.06; R's t.test prints p = 0.002833 (two-sided) and 0.7001142 2.4598858.
SLEEP = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]


def one_sample(values, boundary, alternative):
    return stats.ttest_1samp(values, boundary, alternative=alternative).pvalue


# -- independent arithmetic


def test_superiority_is_students_own_example():
    # A margin that is nothing beside the hours, as 0 is none.
    decision = superiority(1e-9).decide(SLEEP, alpha=0.025, unit="hours")
    assert decision.verdict is SUPPORTED
    assert decision.estimate == pytest.approx(1.58)
    assert decision.p == pytest.approx(0.002833 / 2, rel=1e-3)
    assert decision.low == pytest.approx(0.7001142, rel=1e-6)
    assert decision.high == pytest.approx(2.4598858, rel=1e-6)
    assert decision.spread == pytest.approx(1.2299955)  # R's sd
    assert (decision.n, decision.margin, decision.unit) == (10, 1e-9, "hours")


@pytest.mark.parametrize(
    "rule, boundary", [(superiority(0.5), 0.5), (noninferiority(0.5), -0.5)]
)
def test_one_sided_rules_are_scipys_t_tests(rule, boundary):
    decision = rule.decide(SLEEP)
    assert decision.margin == boundary
    assert decision.p == pytest.approx(one_sample(SLEEP, boundary, "greater"))
    assert decision.p_against == pytest.approx(one_sample(SLEEP, boundary, "less"))
    interval = stats.ttest_1samp(SLEEP, 0).confidence_interval(0.99)
    assert (decision.low, decision.high) == pytest.approx(tuple(interval))


@pytest.mark.parametrize("shift", [0, 1.2, -1.2, 9, -9])
def test_equivalence_takes_the_larger_p_for_and_the_smaller_one_against(shift):
    values = np.array([0.5, -0.1, 0.4, 0.2, -0.3]) + shift
    decision = equivalence(1).decide(values)
    for_claim = one_sample(values, -1, "greater"), one_sample(values, 1, "less")
    against = one_sample(values, -1, "less"), one_sample(values, 1, "greater")
    assert decision.p == pytest.approx(max(for_claim))
    assert decision.p_against == pytest.approx(min(against))
    expected = {0: SUPPORTED, 9: REFUTED}.get(abs(shift), INCONCLUSIVE)
    assert (decision.verdict, decision.margin) == (expected, 1)


def test_one_sample_can_be_supported_refuted_or_inconclusive_either_way():
    decisions = [superiority(m).decide(SLEEP) for m in (0.1, 0.6, 1.5, 2.5, 9)]
    assert [(d.verdict, d.leaning) for d in decisions] == [
        (SUPPORTED, ""),
        (INCONCLUSIVE, "for"),
        (INCONCLUSIVE, ""),
        (INCONCLUSIVE, "against"),
        (REFUTED, ""),
    ]


@pytest.mark.parametrize("direction, sign", [("falling", -1), ("rising", 1)])
def test_trend_is_the_superiority_of_its_end_to_end_contrast(direction, sign):
    table = np.random.default_rng(1).normal(size=(8, 4)) + 3 * sign * np.arange(4)
    ours = trend(direction, 2).decide(table)
    contrast = superiority(2).decide(sign * (table[:, 3] - table[:, 0]))
    page = stats.page_trend_test(sign * table, method="exact").pvalue
    assert ours.p_page == pytest.approx(page)
    for name in ("verdict", "estimate", "low", "high", "p", "p_flip", "detectable"):
        assert getattr(ours, name) == getattr(contrast, name)
    other = {"falling": "rising", "rising": "falling"}[direction]
    assert trend(other, 2).decide(table).verdict is REFUTED


def test_middle_levels_move_no_verdict_of_a_trend_but_pages_p():
    ends = trend("rising", 1).decide([[0, 0, 2 + i / 9] for i in range(8)])
    back = trend("rising", 1).decide([[0, -9, 2 + i / 9] for i in range(8)])
    assert (ends.verdict, ends.p) == (back.verdict, back.p) == (SUPPORTED, back.p)
    assert ends.p_page < back.p_page


def test_page_l_by_hand():
    # Ranks 1 2 3, 1 3 2, 2 1 3, 1 2 3: L = 14 + 13 + 13 + 14 = 54. The six orders of
    # a row have L = 14, 13, 13, 11, 11, 10, so of the 6^4 tables 1 reaches 56, 4 * 2
    # reach 55 (one 13) and 6 * 2 * 2 reach 54 (two 13s).
    rows = [[0.1, 0.2, 0.3], [1, 9, 5], [4, 3, 7], [-3, -2, 0]]
    decision = trend("rising", 1).decide(rows)
    assert decision.p_page == pytest.approx((1 + 8 + 24) / 6**4)
    assert decision.statement.endswith("at least 5 are needed; Page's p 0.025")
    assert trend("rising", 1).decide(rows[:1]).p_page is None


@pytest.mark.parametrize("successes", [0, 5, 14, 20])
def test_frequency_is_decided_by_binomial_sums(successes):
    decision = frequency(at_least=0.6).decide(
        [True] * successes + [False] * (20 - successes)
    )
    chances = [math.comb(20, k) * 0.6**k * 0.4 ** (20 - k) for k in range(21)]
    assert decision.p == pytest.approx(sum(chances[successes:]))
    assert decision.p_against == pytest.approx(sum(chances[: successes + 1]))
    reached = stats.binom.sf(successes - 1, 20, decision.low)
    assert reached == pytest.approx(ALPHA if successes else 1)
    kept = stats.binom.cdf(successes, 20, decision.high)
    assert kept == pytest.approx(ALPHA if successes < 20 else 1)
    expected = {20: SUPPORTED, 14: INCONCLUSIVE}.get(successes, REFUTED)
    assert (decision.verdict, decision.estimate) == (expected, successes / 20)


def test_exact_looks_at_the_largest_deviation_however_few_there_are():
    inside = exact(tolerance=2e-9).decide([[0.0, 2e-9], [1e-9, 0.0]])
    assert (inside.verdict, inside.estimate, inside.n) == (SUPPORTED, 2e-9, 4)
    assert (inside.margin, inside.alpha) == (2e-9, 0)
    assert exact(tolerance=0).decide([0.0]).verdict is SUPPORTED
    assert exact(tolerance=0).decide([1e-300]).verdict is REFUTED
    assert inside.p is inside.low is inside.high is inside.detectable is None


@pytest.mark.parametrize("n", [5, 8])
def test_sign_flips_by_hand_and_by_a_table_of_all_signs(n):
    assert flip_p(np.arange(1.0, n + 1)) == 2.0**-n
    values = np.random.default_rng(n).normal(0.3, 1, n)
    signs = np.array(list(itertools.product([1, -1], repeat=n)))
    assert flip_p(values) == np.mean(signs @ values >= values.sum() - 1e-12)
    # Of 2^n flips of equal values, those that flip none reach the sum.
    assert flip_p(np.full(n, 0.1)) == 2.0**-n
    assert flip_p(np.zeros(n)) == 1


def test_sign_flip_p_is_that_of_the_boundary_the_claim_must_pass():
    assert superiority(1).decide(SLEEP).p_flip == flip_p(np.subtract(SLEEP, 1))
    assert noninferiority(1).decide(SLEEP).p_flip == flip_p(np.add(SLEEP, 1))
    assert equivalence(2).decide(SLEEP).p_flip == flip_p(np.subtract(2, SLEEP))
    assert frequency(at_least=0.5).decide([1] * 8).p_flip is None


def test_many_signs_are_drawn_by_a_fixed_seed_and_agree_with_all_of_them():
    values = np.random.default_rng(3).normal(0.3, 1, 20)
    assert flip_p(values) == flip_p(values)
    assert flip_p(np.ones(20)) == 1 / 20_001
    signs = np.array(list(itertools.product([1, -1], repeat=10)))
    sums = np.add.outer(signs @ values[:10], signs @ values[10:])  # of all 2^20
    assert flip_p(values) == pytest.approx(np.mean(sums >= values.sum()), rel=0.1)


# -- what every decision promises


@pytest.mark.parametrize(
    "decision, statement",
    [
        (
            superiority(3).decide([1, 2, 3, 4, 5], unit="points"),
            "mean > 3 points, one-sided t-test, alpha 0.005",
        ),
        (
            noninferiority(3).decide([1, 2, 3, 4, 5], unit="points"),
            "mean > -3 points, one-sided t-test, alpha 0.005",
        ),
        (
            equivalence(2).decide([1, 2], alpha=0.01),
            "|mean| < 2, two one-sided t-tests, alpha 0.01; 2 units, at least 5 are "
            "needed",
        ),
        (
            trend("falling", 5).decide([[1, 2, i] for i in range(6)], unit="points"),
            "falls by more than 5 points from first to last level, one-sided t-test, "
            "alpha 0.005; Page's p 0.99",
        ),
        (
            frequency(at_least=0.9).decide([True]),
            "probability > 0.9, exact binomial, one-sided, alpha 0.005; 1 unit, at "
            "least 5 are needed",
        ),
        (exact(tolerance=1e-9).decide([0]), "every deviation <= 1e-09"),
    ],
)
def test_statement_names_rule_margin_and_alpha(decision, statement):
    assert decision.statement == statement


def test_rules_and_decisions_cannot_be_changed_and_are_plain():
    rule = trend("rising", 1)
    assert rule == trend("rising", 1) != trend("falling", 1)
    assert superiority(1) != noninferiority(1)
    for frozen, name in ((rule, "margin"), (rule.decide(np.eye(5)), "verdict")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(frozen, name, 2)
    for value in dataclasses.asdict(rule.decide(np.eye(5))).values():
        assert type(value) in (str, int, float, Verdict, type(None))


def test_a_margin_given_later_is_the_one_that_counts():
    assert superiority().decide(SLEEP, margin=0.1) == superiority(0.1).decide(SLEEP)
    assert superiority(9).decide(SLEEP, margin=0.1) == superiority(0.1).decide(SLEEP)


@pytest.mark.parametrize("seed", range(40))
def test_verdict_leaning_interval_and_p_values_never_contradict(seed):
    rng = np.random.default_rng(seed)
    n = rng.integers(FEWEST, 12)
    values = rng.normal(rng.normal(0, 2), 1, size=n)
    for decision in (
        superiority(0.1).decide(values),
        noninferiority(0.5).decide(values),
        equivalence(1.5).decide(values),
        trend("rising", 1).decide(rng.normal(size=(n, 4)).cumsum(axis=1)),
        frequency(at_least=0.6).decide(rng.random(n) < 0.9),
    ):
        decided = decision.verdict is not INCONCLUSIVE
        assert (decision.p < ALPHA) == (decision.verdict is SUPPORTED), decision
        assert (decision.p_against < ALPHA) == (decision.verdict is REFUTED), decision
        leans = {"for": decision.p, "against": decision.p_against}
        for side, p in leans.items():
            assert (decision.leaning == side) == (p < LEANING and not decided)
        assert decision.low <= decision.estimate <= decision.high
        assert not (decided and decision.needed)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value, verdict", [(0.4, SUPPORTED), (0, REFUTED)])
def test_values_without_spread_are_as_uncertain_as_their_grain(value, verdict):
    decision = superiority(0.3).decide([value] * 7, grain=0.01)
    assert (decision.verdict, decision.estimate, decision.spread) == (verdict, value, 0)
    error = 0.01 / math.sqrt(7)
    assert decision.p == pytest.approx(stats.t.sf((value - 0.3) / error, 6))
    assert decision.low < value < decision.high
    assert 0 < decision.p < 1 or verdict is REFUTED
    assert decision.detectable == pytest.approx(error * arithmetic.factor(7, ALPHA))


@pytest.mark.filterwarnings("error")
def test_values_on_the_margin_are_inconclusive_and_never_decided():
    decision = superiority(0.3).decide([0.3] * 7, grain=0.01)
    assert (decision.verdict, decision.p, decision.needed) == (INCONCLUSIVE, 0.5, None)


def test_a_spread_above_the_grain_makes_the_grain_irrelevant():
    fine, coarse = (superiority(1).decide(SLEEP, grain=g) for g in (0, 1.2))
    assert coarse == dataclasses.replace(fine, grain=1.2)
    assert superiority(1).decide(SLEEP, grain=2).low < fine.low


@pytest.mark.parametrize("n", range(1, FEWEST))
@pytest.mark.parametrize(
    "rule, row",
    [
        (superiority(1), 9.0),
        (noninferiority(1), -9.0),
        (equivalence(1), 0.0),
        (trend("rising", 1), [0.0, 5.0, 9.0]),
        (frequency(at_least=0.01), True),
    ],
)
def test_too_few_units_are_inconclusive_and_lean_nowhere(rule, row, n):
    decision = rule.decide([row] * n, grain=1e-3)
    assert (decision.verdict, decision.leaning) == (INCONCLUSIVE, "")
    assert f"{n} unit" in decision.statement
    assert "at least 5 are needed" in decision.statement
    if n > 1:
        assert decision.needed >= FEWEST


def test_grains_are_known_for_units_and_asked_of_the_test_set_for_points():
    assert grain_of("points", 400) == 0.25
    assert all(grain_of(unit, 1) == grain for unit, grain in UNITS.items())


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: superiority(0), "margin is 0: give the smallest effect of interest"),
        (lambda: noninferiority(-1), "margin is -1: .* above 0, in the unit"),
        (lambda: equivalence(math.nan), "margin is nan: .* finite"),
        (lambda: trend("rising", 0), "margin is 0"),
        (lambda: trend("down"), "'down': choose 'falling' or 'rising'"),  # type: ignore[arg-type]
        (lambda: frequency(at_least=90), "at_least is 90: give a probability"),
        (lambda: exact(tolerance=-1), "tolerance is -1: .* 0 or above"),
        (lambda: superiority().decide(SLEEP), "superiority has no margin here: give"),
        (lambda: superiority(1).decide(SLEEP, margin=0), "margin is 0"),
        (lambda: superiority(1).decide(SLEEP, alpha=0.5), "alpha is 0.5: .* as 0.005"),
        (lambda: superiority(1).decide(SLEEP, grain=-1), "grain is -1: .* or above"),
        (lambda: superiority(1).decide([1, math.nan]), "value 1 is nan: .* why the me"),
        (lambda: superiority(1).decide([[1, 2]]), r"shape \(1, 2\): pass one number"),
        (lambda: superiority(1).decide([]), "needs values, got none"),
        (lambda: superiority(1).decide([2] * 8), "all 8 values are 2 .* give grain="),
        (lambda: trend("rising", 1).decide([[1, 2, math.inf]]), r"\(0, 2\) is inf"),
        (lambda: trend("rising", 1).decide([[1, 2]] * 9), r"\(9, 2\): .* superiority"),
        (lambda: frequency(at_least=0.5).decide([0, 2]), "one truth value per indep"),
        (lambda: exact(tolerance=0).decide([]), "needs values, got none"),
        (lambda: exact(tolerance=0).decide([0, -1]), r"deviation is -1: .* abs\(x\)"),
        (lambda: exact(tolerance=0).decide(math.nan), "value 0 is nan"),
        (lambda: grain_of("miles", 9), "'miles' has no grain: choose .*'nats'.* UNITS"),
    ],
)
def test_refusals_say_what_is_wrong_and_what_to_do(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_examples_in_the_docstrings_run():
    result = doctest.testmod(rules)
    assert result.attempted >= 4
    assert result.failed == 0


# -- error rates and power, by simulation

STUDIES = 40_000
PAIRS = 8

Verdicts = tuple[Any, Any]
"""Of many studies: which were supported, and which refuted."""


def verdicts(rule: Rule, data, alpha: float = ALPHA) -> Verdicts:
    """Decide a study per row at once; `test_many_studies_...` holds it to `decide`."""
    _, _, low, high = t_interval(data, 0.0, alpha)
    floor, ceiling = rule.region(rule.margin)
    return (floor < low) & (high < ceiling), (high < floor) | (low > ceiling)


def assert_rate_at_most(rate: float, events) -> None:
    """Check that an event's true rate may be `rate` or less, from simulated studies.

    False alarm: at most 1e-4 where the true rate is at most `rate` (binomial). Misses
    a true rate of twice 0.005 with probability below 1e-5.
    """
    limit = stats.binom.isf(1e-4, len(events), rate)
    assert events.sum() <= limit, f"{events.sum()} of {len(events)}, limit {limit:.0f}"


def assert_levels_hold(
    rule: Callable[[Any], Verdicts], data, false_pass=ALPHA, false_fail=ALPHA
) -> None:
    """Check both error rates of a rule on studies whose true effect is the margin."""
    supported, refuted = rule(data)
    assert_rate_at_most(false_pass, supported)
    assert_rate_at_most(false_fail, refuted)


def assert_power_is_stated(supported) -> None:
    """Check that 80% of the studies, no more and no fewer, are supported."""
    assert_rate_at_most(0.8, supported)
    assert_rate_at_most(0.2, ~supported)


def normal(mean: float, n: int = PAIRS, deviation: float = 1.0):
    """Values of n pairs, for each study."""
    return np.random.default_rng(7).normal(mean, deviation, size=(STUDIES, n))


def accuracies(first: float, second: float):
    """Differences of test accuracies in points, on the 397 images of digits."""
    rng = np.random.default_rng(11)
    correct = rng.binomial(397, [[[first]], [[second]]], size=(2, STUDIES, PAIRS))
    return (correct[0] - correct[1]) / 397 * 100


def exponential(n: int = PAIRS):
    return np.random.default_rng(12).exponential(size=(STUDIES, n)) - 1


def lognormal(n: int = PAIRS):
    values = np.random.default_rng(13).lognormal(size=(STUDIES, n))
    return values - math.exp(0.5)


RESIDUALS = pathlib.Path(__file__).parent / "residuals.json"
"""Of the first edition's record of digits, by place: what entered the rule for each
pair, less the place's mean, in standard deviations."""


def residuals(n: int = PAIRS):
    """Residuals of real pairs, drawn at random."""
    pool = json.loads(RESIDUALS.read_text())
    assert len(pool) > 100
    return np.random.default_rng(14).choice(np.concatenate(pool), (STUDIES, n))


def test_many_studies_at_once_are_those_decided_one_by_one():
    data = normal(0.7)[:120]
    for rule in (superiority(0.3), noninferiority(0.2), equivalence(1)):
        decided = [rule.decide(study).verdict for study in data]
        supported, refuted = verdicts(rule, data)
        assert [v is SUPPORTED for v in decided] == supported.tolist()
        assert [v is REFUTED for v in decided] == refuted.tolist()


ON_THE_MARGIN = [
    pytest.param(superiority(2), normal(2), id="superiority"),
    pytest.param(superiority(2), normal(2, 5), id="superiority-5"),
    pytest.param(superiority(2), normal(2, 16), id="superiority-16"),
    pytest.param(superiority(70), accuracies(0.8, 0.1), id="superiority-over-chance"),
    pytest.param(noninferiority(3), normal(-3), id="non-inferiority"),
    pytest.param(noninferiority(3), accuracies(0.8, 0.83), id="non-inferior-accuracy"),
    pytest.param(equivalence(9), normal(9), id="equivalence"),
    pytest.param(equivalence(9), normal(-9), id="equivalence-below"),
    pytest.param(equivalence(1), normal(1), id="equivalence-noisy"),
    pytest.param(equivalence(3), accuracies(0.83, 0.8), id="equivalence-accuracy"),
]


@pytest.mark.parametrize("rule, data", ON_THE_MARGIN)
def test_effects_on_the_margin_keep_both_error_rates(rule, data):
    assert_levels_hold(lambda x: verdicts(rule, x), data)


@pytest.mark.parametrize("n", [5, 8, 16])
def test_residuals_of_the_record_keep_the_stated_rates(n):
    assert_levels_hold(
        lambda x: verdicts(superiority(1), x), residuals(n) + 1, 0.006, 0.007
    )


def test_skewed_values_have_the_stated_rates_and_not_alpha():
    for data, false_pass, false_fail in (
        (exponential(), 0.0005, 0.05),
        (lognormal(), 0.0001, 0.1),
    ):
        supported, refuted = verdicts(superiority(1), data + 1)
        assert_rate_at_most(false_pass, supported)
        assert_rate_at_most(false_fail, refuted)
        assert refuted.mean() > 0.8 * false_fail
        mirrored = verdicts(superiority(1), 1 - data)
        assert (mirrored[0] == refuted).mean() > 0.999


def test_equivalence_fails_falsely_at_most_at_twice_alpha_and_does_so():
    """A range that is narrow beside the standard error has two outsides to be on."""
    rule = equivalence(1e-6)
    supported, refuted = verdicts(rule, normal(0))
    assert not supported.any()
    assert_rate_at_most(2 * ALPHA, refuted)
    with pytest.raises(AssertionError, match="of 40000, limit"):
        assert_rate_at_most(ALPHA, refuted)


@pytest.mark.parametrize("n, at_least", [(8, 0.5), (20, 0.9), (30, 0.8)])
def test_probabilities_on_the_margin_keep_both_error_rates_exactly(n, at_least):
    rule = frequency(at_least=at_least)
    counts = np.arange(n + 1)
    chance = stats.binom.pmf(counts, n, at_least)
    found = [rule.decide([1] * s + [0] * (n - s)).verdict for s in counts]
    assert sum(chance[[v is SUPPORTED for v in found]]) <= ALPHA
    assert sum(chance[[v is REFUTED for v in found]]) <= ALPHA


def test_many_levels_are_no_evidence_without_a_trend_of_units():
    """Random walks: where a row goes, all its levels go, and Page is misled."""
    walks = np.random.default_rng(10).normal(size=(600, PAIRS, 6)).cumsum(axis=2)
    decided = [trend("rising", 1e-6).decide(walk) for walk in walks]
    supported = np.array([d.verdict is SUPPORTED for d in decided])
    refuted = np.array([d.verdict is REFUTED for d in decided])
    assert_levels_hold(lambda x: (supported, refuted), walks)
    assert np.mean([d.p_page < ALPHA for d in decided]) > 5 * ALPHA


# Eight values with a standard deviation of 1 and a mean of 0.
TYPICAL = np.arange(-3.5, 4) / np.std(np.arange(PAIRS), ddof=1)


def test_detectable_effects_are_found_in_four_studies_of_five():
    effect = superiority(1).decide(TYPICAL).detectable
    assert_power_is_stated(verdicts(superiority(1), normal(1 + effect))[0])
    assert_power_is_stated(verdicts(noninferiority(3), normal(effect - 3))[0])


def test_detectable_margin_is_found_in_four_studies_of_five():
    margin = equivalence(1).decide(TYPICAL).detectable
    supported = verdicts(equivalence(margin), normal(0))[0]
    assert_rate_at_most(0.2, ~supported)
    assert supported.mean() < 0.82


def test_detectable_probability_is_found_in_four_studies_of_five():
    decision = frequency(at_least=0.6).decide([1] * 20 + [0] * 10)
    least = stats.binom.isf(ALPHA, 30, 0.6) + 1
    power = stats.binom.sf(least - 1, 30, 0.6 + decision.detectable)
    assert power == pytest.approx(0.8)
    assert frequency(at_least=0.9).decide([1] * 8).detectable is None


@pytest.mark.parametrize(
    "rule, mean, side",
    [
        (superiority(1), 1.6, 0),
        (superiority(1), 0.3, 1),
        (equivalence(1), 0.3, 0),
        (equivalence(1), 1.5, 1),
    ],
)
def test_needed_units_decide_four_studies_of_five_and_one_fewer_does_not(
    rule, mean, side
):
    needed = rule.decide(TYPICAL + mean).needed
    assert verdicts(rule, normal(mean, needed))[side].mean() > 0.795
    assert verdicts(rule, normal(mean, needed - 1))[side].mean() < 0.805
    # Far fewer are far from enough.
    assert verdicts(rule, normal(mean, max(FEWEST, needed // 2)))[side].mean() < 0.7


@pytest.mark.parametrize("successes, n, at_least", [(8, 9, 0.5), (1, 9, 0.3)])
def test_needed_trials_decide_four_studies_of_five(successes, n, at_least):
    decision = frequency(at_least=at_least).decide(
        [1] * successes + [0] * (n - successes)
    )
    assert decision.verdict is INCONCLUSIVE
    for trials, reaches in ((decision.needed, True), (decision.needed - 1, False)):
        counts = np.arange(trials + 1)
        p = (
            stats.binom.sf(counts - 1, trials, at_least)
            if successes / n > at_least
            else stats.binom.cdf(counts, trials, at_least)
        )
        power = stats.binom.pmf(counts, trials, successes / n)[p < ALPHA].sum()
        assert (power >= 0.8) == reaches


def test_needed_is_none_where_nobody_would_train_so_many():
    assert superiority(1).decide(TYPICAL + 1.0001).needed is None
    assert equivalence(1).decide(TYPICAL + 0.9999).needed is None
    assert frequency(at_least=0.5).decide([0, 1] * 4).needed is None


def test_sign_flips_seldom_disagree_without_reason_and_see_fragile_p_values():
    rule, leaning, disagreeing = superiority(1), 0, 0
    for study in normal(2)[:1_000]:
        decision = rule.decide(study)
        leaning += min(decision.p, decision.p_against) < LEANING
        disagreeing += remark(decision) != ""
    assert leaning > 500
    assert disagreeing < leaning / 50
    assert remark(dataclasses.replace(rule.decide(TYPICAL + 3), p_flip=0.04))
    assert not remark(exact(tolerance=0).decide([0]))
    assert (details.LEANING, details.FLIPS) == (LEANING, arithmetic.DRAWS)


def test_large_effects_are_found_nearly_always():
    for rule in (superiority(1), noninferiority(1)):
        assert verdicts(rule, normal(6))[0].mean() > 0.99
        assert verdicts(rule, normal(-6))[1].mean() > 0.99
    assert verdicts(equivalence(5), normal(0))[0].mean() > 0.99
    for mean in (-10, 10):
        assert verdicts(equivalence(5), normal(mean))[1].mean() > 0.99


# -- the simulations notice broken rules


def t_rule(
    error: Callable, boundary: float = 2.0, t: float = 3.499483
) -> Callable[[Any], Verdicts]:
    """Make a superiority rule with its own idea of the error of a mean (t: 7 df)."""

    def rule(x):
        mean, reach = x.mean(1), t * error(x.std(1, ddof=1), x.shape[1])
        return mean - reach > boundary, mean + reach < boundary

    return rule


def sound(s, n):
    return s / math.sqrt(n)


def absence_of_evidence(x):
    p = stats.ttest_1samp(x, 0, axis=1).pvalue
    return p > ALPHA, p < 0


def either_direction(x):
    p = stats.ttest_1samp(x, 2, axis=1).pvalue
    return p < 2 * ALPHA, p < 0


def test_the_correct_rule_passes_where_the_broken_ones_fail():
    effect = superiority(1).decide(TYPICAL).detectable
    assert_levels_hold(t_rule(sound), normal(2))
    assert_power_is_stated(t_rule(sound)(normal(2 + effect))[0])


@pytest.mark.parametrize(
    "rule, data",
    [
        pytest.param(t_rule(sound, boundary=0.0), normal(2), id="ignores-the-margin"),
        pytest.param(t_rule(sound, boundary=1.8), normal(2), id="looser-margin"),
        pytest.param(t_rule(lambda s, n: s / n), normal(2), id="no-root-of-n"),
        pytest.param(
            t_rule(lambda s, n: s / math.sqrt(n + 1)), normal(2), id="n-plus-1"
        ),
        pytest.param(t_rule(sound, t=2.575829), normal(2), id="normal-quantile"),
        pytest.param(
            lambda x: verdicts(superiority(2), x, 2 * ALPHA), normal(2), id="2-alpha"
        ),
        pytest.param(either_direction, normal(2), id="either-direction"),
        pytest.param(absence_of_evidence, normal(1), id="not-significant-is-equal"),
        pytest.param(
            lambda x: verdicts(superiority(2), x)[::-1], normal(2.3), id="swapped"
        ),
    ],
)
def test_rules_that_err_too_often_are_caught(rule, data):
    with pytest.raises(AssertionError, match="of 40000, limit"):
        assert_levels_hold(rule, data)


@pytest.mark.parametrize("error", [lambda s, n: s, lambda s, n: s / n])
def test_rules_that_forget_n_in_the_error_are_caught_by_their_power(error):
    effect = superiority(1).decide(TYPICAL).detectable
    with pytest.raises(AssertionError, match="of 40000, limit"):
        assert_power_is_stated(t_rule(error)(normal(2 + effect))[0])


def test_wald_intervals_of_a_frequency_would_err_too_often():
    counts = np.arange(21)
    share = counts / 20
    low = share - 2.575829 * np.sqrt(share * (1 - share) / 20)
    assert stats.binom.pmf(counts, 20, 0.9)[low > 0.9].sum() > ALPHA
