"""The decision rules against independent arithmetic, and by simulation."""

import dataclasses
import doctest
import itertools
import math
import statistics
from collections.abc import Callable, Iterable

import numpy as np
import pytest
from numpy.typing import ArrayLike
from scipy import stats

from claims import decisions
from claims.decisions import (
    Decision,
    Verdict,
    equivalence,
    exact,
    holm,
    noninferiority,
    proportion,
    superiority,
    trend,
)
from claims.page_trend import page_trend

ALPHA = 0.05
SUPPORTED, REFUTED, INCONCLUSIVE = Verdict

# Student 1908: additional hours of sleep of ten patients, second drug over the first.
# His t is 4.06; R's t.test prints p = 0.002833 (two-sided) and 0.7001142 2.4598858.
SLEEP = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]


# -- independent arithmetic


def test_superiority_is_students_own_example():
    decision = superiority(SLEEP, alpha=0.025, unit="hours")
    assert decision.verdict is SUPPORTED
    assert decision.estimate == pytest.approx(1.58)
    assert decision.p == pytest.approx(0.002833 / 2, rel=1e-3)
    assert decision.low == pytest.approx(0.7001142, rel=1e-6)
    assert decision.high == pytest.approx(2.4598858, rel=1e-6)
    assert (decision.n, decision.margin, decision.unit) == (10, 0.0, "hours")


def test_t_interval_is_mean_plus_minus_the_tabulated_quantile():
    differences = [-1.0, 0.5, 2.0, -0.5, 1.0]  # 4 degrees of freedom: 2.131847
    error = statistics.stdev(differences) / math.sqrt(5)
    decision = noninferiority(differences, margin=3)
    assert decision.low == pytest.approx(0.4 - 2.131847 * error, rel=1e-6)
    assert decision.high == pytest.approx(0.4 + 2.131847 * error, rel=1e-6)
    assert decision.p == pytest.approx(stats.t.sf(3.4 / error, 4))
    assert (decision.margin, decision.verdict) == (-3, SUPPORTED)


def test_equivalence_takes_the_larger_of_its_two_p_values():
    differences = [0.5, -0.1, 0.4, 0.2]
    above, below = np.add(differences, 1), np.subtract(1, differences)
    larger = max(
        stats.ttest_1samp(side, 0, alternative="greater").pvalue
        for side in (above, below)
    )
    decision = equivalence(differences, margin=1)
    assert decision.verdict is SUPPORTED
    assert decision.p == pytest.approx(larger)


@pytest.mark.parametrize("shift", [-8, 8])
def test_equivalence_is_refuted_on_either_side(shift):
    assert equivalence(np.array([0.5, -0.1]) + shift, margin=1).verdict is REFUTED


def test_one_sample_can_be_supported_refuted_or_inconclusive():
    verdicts = [superiority(SLEEP, margin=m).verdict for m in (0, 1.5, 3)]
    assert verdicts == [SUPPORTED, INCONCLUSIVE, REFUTED]


def test_page_l_by_hand():
    # Ranks 1 2 3, 1 3 2, 2 1 3, 1 2 3: L = 14 + 13 + 13 + 14 = 54, correlations 1, .5,
    # .5, 1. The six orders of a row have L = 14, 13, 13, 11, 11, 10, so of the 6^4
    # tables 1 reaches 56, 4 * 2 reach 55 (one 13) and 6 * 2 * 2 reach 54 (two 13s).
    rows = [[0.1, 0.2, 0.3], [1, 9, 5], [4, 3, 7], [-3, -2, 0]]
    decision = trend(rows, direction="increasing")
    assert decision.estimate == pytest.approx(0.75)
    assert decision.estimate == pytest.approx((12 * 54 - 3 * 4 * 3 * 16) / (4 * 3 * 8))
    assert decision.p == pytest.approx((1 + 8 + 24) / 6**4)  # of the t-test 0.007
    assert decision.verdict is SUPPORTED
    assert trend(rows, direction="decreasing").verdict is REFUTED


@pytest.mark.parametrize("shape", [(2, 3), (8, 5), (13, 4)])
def test_trend_without_ties_agrees_with_scipys_tests(shape):
    rows = np.random.default_rng(1).normal(size=shape) + np.arange(shape[1]) / 4
    ours = trend(rows, direction="increasing")
    page = stats.page_trend_test(rows, method="exact").pvalue
    spearman = [stats.spearmanr(row, range(shape[1])).statistic for row in rows]
    student = stats.ttest_1samp(spearman, 0, alternative="greater").pvalue
    assert page_trend(rows, 0.05).p == pytest.approx(page)
    assert ours.p == pytest.approx(max(page, student))
    assert ours.estimate == pytest.approx(np.mean(spearman))


def test_trend_over_many_levels_agrees_with_scipys_normal_page_test():
    rows = np.random.default_rng(2).normal(size=(6, 16)) + np.arange(16) / 9
    theirs = stats.page_trend_test(rows, method="asymptotic").pvalue
    assert page_trend(rows, 0.05).p == pytest.approx(theirs)


@pytest.mark.parametrize("sign", [1, -1])
def test_page_test_with_ties_agrees_with_the_enumeration_of_all_orders(sign):
    table = np.array([[1, 1, 2], [5, 5, 5], [0, 3, 3], [2, 4, 7]])
    ranks = stats.rankdata(table, axis=1)
    scores = [
        sign * sum(np.dot([1, 2, 3], row) for row in orders)
        for orders in itertools.product(*map(itertools.permutations, ranks))
    ]
    observed = sign * (ranks @ [1, 2, 3]).sum()
    p = np.mean(np.array(scores) >= observed)
    assert page_trend(sign * table, 0.05).p == pytest.approx(p)


def test_proportion_by_sums_of_binomial_terms():
    def at_least(successes, probability):
        return sum(
            math.comb(20, s) * probability**s * (1 - probability) ** (20 - s)
            for s in range(successes, 21)
        )

    decision = proportion(17, 20, at_least=0.6)
    assert decision.verdict is SUPPORTED
    assert decision.p == pytest.approx(at_least(17, 0.6))
    assert at_least(17, decision.low) == pytest.approx(ALPHA)
    assert at_least(18, decision.high) == pytest.approx(1 - ALPHA)
    needed = next(s for s in range(21) if at_least(s, 0.6) < ALPHA)
    assert at_least(needed, 0.6 + decision.detectable) == pytest.approx(0.8)


@pytest.mark.parametrize("successes, low, high", [(0, 0.0, 0.5), (4, 0.5, 1.0)])
def test_proportion_of_none_or_all_has_closed_bounds(successes, low, high):
    decision = proportion(successes, 4, at_least=0.9, alpha=1 / 16)
    assert (decision.low, decision.high) == (pytest.approx(low), pytest.approx(high))


def test_exact_looks_at_the_largest_deviation():
    inside = exact([0.0, 2e-9, 1e-9], tolerance=2e-9)
    assert (inside.verdict, inside.estimate, inside.n) == (SUPPORTED, 2e-9, 3)
    assert exact([0.0, 3e-9, 1e-9], tolerance=2e-9).verdict is REFUTED
    assert inside.p is inside.low is inside.high is inside.detectable is None


def test_holm_on_the_textbook_example_in_any_order_and_with_gaps():
    adjusted = holm([0.01, 0.04, None, 0.03, 0.005])
    assert adjusted[2] is None
    assert [p for p in adjusted if p is not None] == pytest.approx(
        [0.03, 0.06, 0.06, 0.02]
    )


def test_holm_never_passes_one_and_takes_nothing():
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([None]) == [None]
    assert holm([]) == []


# -- what every decision promises


@pytest.mark.parametrize(
    "decision, statement",
    [
        (
            superiority([1, 2], margin=-3, unit="points"),
            "mean difference > -3 points, one-sided, alpha 0.05",
        ),
        (
            noninferiority([1, 2], margin=3, unit="points"),
            "mean difference > -3 points, one-sided, alpha 0.05",
        ),
        (
            equivalence([1, 2], margin=2, alpha=0.01),
            "|mean difference| < 2, two one-sided tests, alpha 0.01",
        ),
        (
            trend([[1, 2, 3]] * 2, direction="increasing"),
            "increasing over 3 levels, Page test and t-test of rows, one-sided, "
            "alpha 0.05",
        ),
        (
            proportion(3, 4, at_least=0.9),
            "success probability > 0.9, exact binomial, one-sided, alpha 0.05",
        ),
        (exact([0], tolerance=1e-9), "every deviation <= 1e-09"),
    ],
)
def test_statement_names_rule_margin_and_alpha(decision, statement):
    assert decision.statement == statement


def test_decision_is_plain_numbers_and_cannot_be_changed():
    decision = trend(np.arange(6).reshape(2, 3))
    for value in dataclasses.asdict(decision).values():
        assert type(value) in (str, int, float, Verdict)
    with pytest.raises(dataclasses.FrozenInstanceError):
        decision.verdict = SUPPORTED


@pytest.mark.parametrize("seed", range(100))
def test_p_below_alpha_just_where_supported(seed):
    rng = np.random.default_rng(seed)
    differences = rng.normal(rng.normal(), 1, size=rng.integers(2, 12))
    table = rng.integers(0, 9, size=(rng.integers(2, 9), rng.integers(3, 7)))
    for decision in (
        superiority(differences, margin=0.1),
        noninferiority(differences, margin=0.5),
        equivalence(differences, margin=1.5),
        trend(table),
        trend(table, direction="increasing"),
        proportion(rng.binomial(9, 0.8), 9, at_least=0.6),
    ):
        assert (decision.p < ALPHA) == (decision.verdict is SUPPORTED), decision


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "value, verdict, p",
    [(0.4, SUPPORTED, 0), (0.3, INCONCLUSIVE, 0.5), (0, REFUTED, 1)],
)
def test_differences_without_spread_are_decided_by_their_side(value, verdict, p):
    decision = superiority([value] * 7, margin=0.3)
    assert (decision.verdict, decision.p) == (verdict, p)
    assert decision.low == decision.estimate == decision.high == value
    assert decision.detectable == 0


@pytest.mark.filterwarnings("error")
def test_identical_networks_are_equivalent_and_not_worse():
    assert equivalence([0.0] * 3, margin=1).verdict is SUPPORTED
    assert noninferiority([0.0] * 3, margin=1).verdict is SUPPORTED


@pytest.mark.filterwarnings("error")
def test_perfectly_ordered_rows_keep_an_interval():
    decision = trend([[3, 2, 1]] * 4)
    assert (decision.verdict, decision.estimate, decision.low) == (SUPPORTED, -1, -1)
    assert -1 < decision.high < 0
    assert decision.p == pytest.approx(6.0**-4)


def test_detectable_trend_is_at_most_perfect_order():
    assert trend([[3, 2, 1]] * 2).detectable == 1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("levels", [5, 15])
def test_constant_rows_show_no_trend(levels):
    decision = trend(np.ones((4, levels)))
    assert (decision.verdict, decision.estimate, decision.p) == (INCONCLUSIVE, 0, 1)
    assert decision.detectable is None


def test_detectable_is_none_where_nothing_could_have_been_supported():
    assert proportion(3, 4, at_least=0.9).detectable is None
    assert trend([[3, 2, 1]] * 2, alpha=0.01).detectable is None


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: superiority([1.0]), "at least 2 independent pairs, got 1: train more"),
        (lambda: superiority([1, math.nan]), "value 1 is nan: .* why the measurement"),
        (lambda: trend([[1, 2, math.inf]] * 2), r"value \(0, 2\) is inf: .*finite"),
        (lambda: superiority([[1, 2]]), r"shape \(1, 2\): pass one number per indep"),
        (lambda: superiority([1, 2], margin=math.nan), "margin is nan: give a finite"),
        (lambda: superiority([1, 2], alpha=0.5), "alpha is 0.5: .* such as 0.05"),
        (lambda: noninferiority([1, 2], margin=0), "margin is 0: .* above 0, .* loss"),
        (lambda: equivalence([1, 2], margin=-1), "margin is -1: .* use superiority"),
        (lambda: equivalence([1, 2], margin=1, alpha=0), "alpha is 0: give an error"),
        (lambda: trend([[1, 2]] * 9), r"shape \(9, 2\): .* superiority of their diff"),
        (lambda: trend([[1, 2, 3]]), r"shape \(1, 3\): add seeds or levels"),
        (
            lambda: trend([[1, 2, 3]] * 2, direction="down"),  # type: ignore[arg-type]
            "'down': choose 'decreasing' or 'increasing'",
        ),
        (lambda: trend([[1, 2, 3]] * 2, alpha=2), "alpha is 2: give an error rate"),
        (lambda: proportion(5, 4, at_least=0.5), "5 successes of 4 .* whole numbers"),
        (
            lambda: proportion(1.5, 4, at_least=0.5),  # type: ignore[arg-type]
            "1.5 successes of 4 .* whole numbers",
        ),
        (lambda: proportion(0, 0, at_least=0.5), "0 successes of 0 trials"),
        (lambda: proportion(1, 4, at_least=90), "at_least is 90: give a probability"),
        (lambda: exact([], tolerance=0), "at least 1 deviation, got none"),
        (lambda: exact([0, -1], tolerance=0), r"deviation is -1: .* abs\(x\)"),
        (lambda: exact(math.nan, tolerance=0), "value 0 is nan"),
        (lambda: exact([0], tolerance=-1), "tolerance is -1: .* 0 or above"),
        (lambda: holm([0.1, 1.2]), "p-value 1 is 1.2: .* or None"),
        (lambda: holm([math.nan]), "p-value 0 is nan: give numbers from 0 to 1"),
    ],
)
def test_refusals_say_what_is_wrong_and_what_to_do(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_examples_in_the_docstrings_run():
    result = doctest.testmod(decisions)
    assert result.attempted > 10
    assert result.failed == 0


# -- error rates and power, by simulation

STUDIES = 2_000
PAIRS = 8


def assert_rate_at_most(rate: float, events: Iterable[bool]) -> None:
    """Check that an event's true rate may be `rate` or less, from simulated studies.

    False alarm: at most 1e-4 where the true rate is at most `rate` (binomial). Misses
    a true rate of twice 0.05 with probability below 1e-5.
    """
    outcomes = list(events)
    limit = stats.binom.isf(1e-4, len(outcomes), rate)
    assert sum(outcomes) <= limit, f"{sum(outcomes)} of {len(outcomes)}, limit {limit}"


def assert_rate_at_least(rate: float, events: Iterable[bool]) -> None:
    """Check that an event's true rate may be `rate` or more; false alarm as above."""
    assert_rate_at_most(1 - rate, (not event for event in events))


def assert_levels_hold(rule: Callable[[ArrayLike], Verdict], data: Iterable) -> None:
    """Check both error rates of a rule on studies whose true effect is the margin."""
    verdicts = [rule(study) for study in data]
    assert_rate_at_most(ALPHA, (v == SUPPORTED for v in verdicts))
    assert_rate_at_most(ALPHA, (v == REFUTED for v in verdicts))


def assert_power_is_stated(rule: Callable[[ArrayLike], Verdict], data: Iterable):
    """Check that 80% of the studies, no more and no fewer, are supported."""
    verdicts = [rule(study) for study in data]
    assert_rate_at_least(0.8, (v == SUPPORTED for v in verdicts))
    assert_rate_at_most(0.8, (v == SUPPORTED for v in verdicts))


def normal(mean: float, deviation: float = 1.0):
    """Differences of `PAIRS` pairs, for each study."""
    rng = np.random.default_rng(7)
    return rng.normal(mean, deviation, size=(STUDIES, PAIRS))


def accuracies(first: float, second: float):
    """Differences of test accuracies in points, on the 397 images of digits."""
    rng = np.random.default_rng(11)
    correct = rng.binomial(397, [[[first]], [[second]]], size=(2, STUDIES, PAIRS))
    return (correct[0] - correct[1]) / 397 * 100


ON_THE_MARGIN = [
    pytest.param(lambda x: superiority(x), normal(0), id="superiority"),
    pytest.param(lambda x: superiority(x, margin=2), normal(2), id="superiority-2"),
    pytest.param(
        lambda x: superiority(x), accuracies(0.98, 0.98), id="superiority-saturated"
    ),
    pytest.param(
        lambda x: superiority(x, margin=70),
        accuracies(0.8, 0.1),
        id="superiority-over-chance",
    ),
    pytest.param(
        lambda x: noninferiority(x, margin=3), normal(-3), id="non-inferiority"
    ),
    pytest.param(
        lambda x: noninferiority(x, margin=3),
        accuracies(0.8, 0.83),
        id="non-inferiority-accuracy",
    ),
    pytest.param(lambda x: equivalence(x, margin=9), normal(9), id="equivalence"),
    pytest.param(
        lambda x: equivalence(x, margin=9), normal(-9), id="equivalence-below"
    ),
    pytest.param(lambda x: equivalence(x, margin=1), normal(1), id="equivalence-noisy"),
    pytest.param(
        lambda x: equivalence(x, margin=3),
        accuracies(0.83, 0.8),
        id="equivalence-accuracy",
    ),
]


@pytest.mark.parametrize("rule, data", ON_THE_MARGIN)
def test_effects_on_the_margin_keep_both_error_rates(rule, data):
    assert_levels_hold(lambda x: rule(x).verdict, data)


@pytest.mark.parametrize("shape", [(8, 5), (2, 3), (6, 15)])
@pytest.mark.parametrize("direction", ["decreasing", "increasing"])
def test_levels_without_a_trend_keep_both_error_rates(shape, direction):
    data = np.random.default_rng(3).normal(size=(STUDIES, *shape))
    assert_levels_hold(lambda x: trend(x, direction=direction).verdict, data)


def test_one_row_with_a_trend_is_no_evidence_beside_constant_ones():
    """However many levels it has: Page's test alone would have p = 1 / 5!."""
    table = np.vstack([np.ones((7, 5)), np.arange(5)])
    assert page_trend(table, 0.05).p == pytest.approx(1 / 120)
    decision = trend(table, direction="increasing")
    assert decision.verdict is INCONCLUSIVE
    assert decision.p == pytest.approx(stats.t.sf(1, 7))  # a mean of one error


@pytest.mark.parametrize("shape", [(4, 5), (8, 5), (8, 12)])
def test_levels_that_go_astray_together_keep_both_error_rates(shape):
    """Random walks: where a row goes, all its levels go."""
    steps = np.random.default_rng(10).normal(size=(STUDIES, *shape))
    walks = steps.cumsum(axis=2)
    assert_levels_hold(lambda x: trend(x).verdict, walks)
    alone = [page_trend(-walk, 0.05).p < 0.05 for walk in walks]
    assert_rate_at_least(0.1, alone)


def test_saturated_accuracies_with_ties_keep_both_error_rates_of_a_trend():
    data = np.random.default_rng(4).binomial(397, 0.995, size=(STUDIES, 8, 4))
    assert_levels_hold(lambda x: trend(x).verdict, data)


@pytest.mark.parametrize("n, at_least", [(8, 0.5), (20, 0.9), (30, 0.8)])
def test_probabilities_on_the_margin_keep_both_error_rates(n, at_least):
    data = np.random.default_rng(5).binomial(n, at_least, size=STUDIES)
    assert_levels_hold(lambda s: proportion(s, n, at_least=at_least).verdict, data)


def detectable(rule: Callable[[ArrayLike], Decision]) -> float:
    """Ask a rule what `PAIRS` differences with standard deviation 1 could detect."""
    sample = np.arange(PAIRS) / np.std(np.arange(PAIRS), ddof=1)
    effect = rule(sample).detectable
    assert effect is not None
    return effect


def test_detectable_effects_are_found_in_four_studies_of_five():
    effect = detectable(lambda x: superiority(x))
    assert_power_is_stated(lambda x: superiority(x).verdict, normal(effect))
    assert_power_is_stated(
        lambda x: noninferiority(x, margin=3).verdict, normal(effect - 3)
    )


def test_detectable_margin_is_found_in_four_studies_of_five():
    margin = detectable(lambda x: equivalence(x, margin=1))
    assert_power_is_stated(lambda x: equivalence(x, margin=margin).verdict, normal(0))


def test_detectable_probability_is_found_in_four_studies_of_five():
    effect = proportion(15, 30, at_least=0.6).detectable
    data = np.random.default_rng(6).binomial(30, 0.6 + effect, size=STUDIES)
    assert_power_is_stated(lambda s: proportion(s, 30, at_least=0.6).verdict, data)


def test_detectable_trend_is_found_in_four_studies_of_five_or_more():
    noise = np.random.default_rng(8).normal(size=(STUDIES, 8, 5))
    # That of a typical study: it depends on how much a study's own rows spread.
    wanted = np.median([trend(study).detectable for study in noise[:400]])

    def sloped(slope):
        return noise - slope * np.arange(5)

    def correlation(data):
        return -np.mean([trend(study).estimate for study in data[:400]])

    slope = next(s for s in np.arange(0.2, 1, 0.02) if correlation(sloped(s)) >= wanted)
    supported = [trend(study).verdict is SUPPORTED for study in sloped(slope)]
    assert_rate_at_least(0.8, supported)
    assert_rate_at_most(0.95, supported)


def test_large_effects_are_found_nearly_always():
    slope = 3 * np.arange(4)
    rising = np.random.default_rng(9).normal(size=(STUDIES, PAIRS, 4)) + slope
    for verdict, sign in ((SUPPORTED, 1), (REFUTED, -1)):
        for rule, data in (
            (lambda x: superiority(x), sign * normal(5)),
            (lambda x: noninferiority(x, margin=1), sign * normal(5)),
            (lambda x: trend(x, direction="increasing"), sign * rising),
        ):
            assert_rate_at_least(0.99, (rule(x).verdict is verdict for x in data))
    for verdict, mean in ((SUPPORTED, 0), (REFUTED, 10), (REFUTED, -10)):
        found = (equivalence(x, margin=5).verdict is verdict for x in normal(mean))
        assert_rate_at_least(0.99, found)


def family_errors(adjust: Callable[[list], list]) -> Iterable[bool]:
    """Tell, for each study of ten wrong claims, whether even one was supported."""
    for p_values in np.random.default_rng(10).uniform(size=(STUDIES, 10)):
        yield min(adjust(list(p_values))) < ALPHA


def test_holm_keeps_the_rate_of_even_one_false_pass():
    assert_rate_at_most(ALPHA, family_errors(holm))


# -- the simulations notice broken rules


def t_rule(error: Callable[[float, int], float]) -> Callable[[ArrayLike], Verdict]:
    """Make a superiority rule with its own idea of the standard error of a mean."""

    def rule(x):
        low = np.mean(x) - 1.894579 * error(np.std(x, ddof=1), len(x))
        return SUPPORTED if low > 0 else INCONCLUSIVE

    return rule


def wald(successes):
    share = successes / 20
    low = share - 1.644854 * math.sqrt(share * (1 - share) / 20)
    return SUPPORTED if low > 0.9 else INCONCLUSIVE


def absence_of_evidence(x):
    return SUPPORTED if stats.ttest_1samp(x, 0).pvalue > ALPHA else INCONCLUSIVE


def trend_either_way(x):
    return REFUTED if trend(x).verdict is INCONCLUSIVE else SUPPORTED


def test_the_correct_error_of_the_mean_passes_where_the_broken_ones_fail():
    rule = t_rule(lambda s, n: s / math.sqrt(n))
    assert_levels_hold(rule, normal(0))
    assert_power_is_stated(rule, normal(detectable(superiority)))


@pytest.mark.parametrize(
    "rule, data",
    [
        pytest.param(
            lambda x: superiority(x, alpha=2 * ALPHA).verdict, normal(0), id="2-alpha"
        ),
        pytest.param(t_rule(lambda s, n: s / n), normal(0), id="no-root-of-n"),
        pytest.param(
            lambda x: noninferiority(x, margin=3.2).verdict, normal(-3), id="looser"
        ),
        pytest.param(absence_of_evidence, normal(1), id="not-significant-is-equal"),
        pytest.param(
            trend_either_way,
            np.random.default_rng(3).normal(size=(STUDIES, 8, 5)),
            id="either-direction",
        ),
        pytest.param(
            wald, np.random.default_rng(5).binomial(20, 0.9, size=STUDIES), id="wald"
        ),
    ],
)
def test_rules_that_support_too_often_are_caught(rule, data):
    with pytest.raises(AssertionError, match="of 2000, limit"):
        assert_levels_hold(rule, data)


@pytest.mark.parametrize("error", [lambda s, n: s, lambda s, n: s / n])
def test_rules_that_forget_n_in_the_error_are_caught_by_their_power(error):
    with pytest.raises(AssertionError, match="of 2000, limit"):
        assert_power_is_stated(t_rule(error), normal(detectable(superiority)))


def test_rules_that_refute_too_often_are_caught():
    def rule(x):
        decision = superiority(x, alpha=0.2)
        return REFUTED if decision.verdict is REFUTED else INCONCLUSIVE

    with pytest.raises(AssertionError, match="of 2000, limit"):
        assert_levels_hold(rule, normal(0))


def test_raw_p_values_of_many_claims_are_caught():
    with pytest.raises(AssertionError, match="of 2000, limit"):
        assert_rate_at_most(ALPHA, family_errors(list))


def test_strongly_skewed_differences_break_the_stated_rates():
    # The t rules say that they assume an approximately normal mean; this is the limit.
    skewed = np.random.default_rng(12).exponential(size=(STUDIES, PAIRS)) - 1
    with pytest.raises(AssertionError, match="of 2000, limit"):
        assert_levels_hold(lambda x: superiority(x).verdict, skewed)
