"""What makes a run red, against independent arithmetic and by simulation."""

import dataclasses
import doctest
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import special, stats

from claims.evidence import family
from claims.evidence.family import (
    FAMILY,
    contradiction,
    moved_p,
    welch_p,
)
from claims.evidence.rules import (
    ALPHA,
    exact,
    frequency,
    superiority,
)
from claims.tests.test_rules import TYPICAL, assert_rate_at_most, residuals
from reports.results import corrected

PLACES = 450
LEVEL = FAMILY / 2 / PLACES

RULE = superiority(1)
SUPPORTED, UNDECIDED, REFUTED = (
    RULE.decide(TYPICAL + mean, unit="points", grain=0.25) for mean in (5, 1.2, -3)
)


def accepted(values, rule=RULE, grain=0.25):
    return rule.decide(values, grain=grain)


# -- independent arithmetic


@pytest.mark.parametrize("n, m", [(8, 8), (5, 16), (12, 7)])
def test_moved_p_is_welchs_statistic_with_the_fewest_degrees_of_freedom(n, m):
    rng = np.random.default_rng(n)
    before, now = rng.normal(3, 2, n), rng.normal(0, 1, m)
    welch = stats.ttest_ind(now, before, equal_var=False)
    fewest = 2 * stats.t.sf(abs(welch.statistic), min(n, m) - 1)
    ours = moved_p(accepted(before), RULE.decide(now, grain=0.25))
    assert ours == pytest.approx(fewest)
    assert ours > welch.pvalue


def test_moved_p_without_spread_takes_the_grain_by_hand():
    # Errors 0.25 / sqrt(8) each, so 0.125 together: t = 1 / 0.125, 7 degrees.
    ours = moved_p(accepted([2.0] * 8), RULE.decide([3.0] * 8, grain=0.25))
    assert ours == pytest.approx(2 * stats.t.sf(8, 7))
    assert moved_p(accepted([2.0] * 8), RULE.decide([2.0] * 8, grain=0.25)) == 1


def test_moved_p_of_frequencies_is_fishers_by_hand():
    rule = frequency(at_least=0.5)
    ours = moved_p(accepted([1] * 8, rule), rule.decide([0] * 8))
    assert ours == pytest.approx(2 / 12870)  # 2 of the C(16, 8) ways to share out
    assert moved_p(accepted([1] * 8, rule), rule.decide([1] * 5)) == 1


def test_one_value_tells_no_spread_and_has_moved_nowhere():
    assert moved_p(accepted([2.0]), RULE.decide([99.0] * 8, grain=0.25)) == 1


@pytest.mark.filterwarnings("error")
def test_samples_without_spread_or_grain_differ_for_certain_or_not_at_all():
    assert welch_p([0.0, 1.0], 0.0, 8, 0.0, 8).tolist() == [1, 0]


# -- red or not


@pytest.mark.parametrize("before, now", [(SUPPORTED, REFUTED), (REFUTED, SUPPORTED)])
def test_an_opposite_verdict_is_red_even_where_no_estimate_has_moved(before, now):
    wide = dataclasses.replace(before, spread=99.0)
    reason = contradiction(wide, now, places=PLACES)
    assert reason.startswith(f"{now.verdict.capitalize()}: {now.estimate:+g} points")
    assert reason.endswith("(spread 99, n = 8).")
    assert f"accepted as {before.verdict}: {before.estimate:+g} points" in reason


def test_a_moved_estimate_is_red_with_the_same_verdict_and_names_both():
    far = RULE.decide(TYPICAL + 20, unit="points", grain=0.25)
    assert contradiction(SUPPORTED, far, places=PLACES) == (
        "The estimate has moved, from +5 points (spread 1, n = 8) to +20 points "
        "(spread 1, n = 8): two-sample p = 1.2e-08, below 0.005 / 450 places."
    )
    near = RULE.decide(TYPICAL + 8, unit="points")
    assert contradiction(SUPPORTED, near, places=PLACES) == ""
    assert contradiction(SUPPORTED, near, places=1) != ""


def test_nothing_accepted_is_red_where_refuted_only():
    reason = contradiction(None, REFUTED, places=PLACES)
    assert reason == "Refuted, with nothing accepted yet: -3 points (spread 1, n = 8)."
    assert contradiction(None, SUPPORTED, places=PLACES) == ""
    assert contradiction(None, UNDECIDED, places=PLACES) == ""


@pytest.mark.parametrize("before", [None, SUPPORTED, REFUTED])
def test_a_broken_invariant_is_red_whatever_was_accepted(before):
    rule = exact(tolerance=1e-9)
    assert contradiction(before, rule.decide([0, 2e-3]), places=PLACES) == (
        "The invariant is broken: the largest of 2 deviations is 0.002, the tolerance "
        "1e-09."
    )
    assert contradiction(before, rule.decide([0, 1e-10]), places=PLACES) == ""


def test_opposite_frequencies_are_red_though_eight_units_can_never_have_moved():
    rule = frequency(at_least=0.5)
    never = rule.decide([0] * 8)
    assert moved_p(accepted([1] * 8, rule), never) > LEVEL
    assert contradiction(accepted([1] * 8, rule), never, places=PLACES) != ""


@pytest.mark.parametrize(
    "before, now",
    [(SUPPORTED, UNDECIDED), (UNDECIDED, SUPPORTED), (UNDECIDED, REFUTED)],
)
def test_what_becomes_decided_or_undecided_is_not_red(before, now):
    assert contradiction(before, now, places=PLACES) == ""


def test_undecided_that_leans_is_not_red():
    leaning = RULE.decide(TYPICAL + 1.9, unit="points")
    assert contradiction(UNDECIDED, leaning, places=PLACES) == ""


def test_refusals_say_what_is_wrong_and_what_to_do():
    with pytest.raises(ValueError, match=r"places is 0: .* whole scale"):
        contradiction(None, SUPPORTED, places=0)


def test_examples_in_the_docstrings_run():
    result = doctest.testmod(family)
    assert result.attempted > 3
    assert result.failed == 0


# -- error rates, by simulation

RUNS = 1_000


def summary(values):
    return values.mean(-1), values.std(-1, ddof=1)


def moved(before, now, level=LEVEL):
    """Tell where estimates have moved, over the last axis."""
    (mean, spread), (other, its_spread) = summary(before), summary(now)
    n, m = before.shape[-1], now.shape[-1]
    return welch_p(mean - other, spread, n, its_spread, m) < level


def opposite(before, now, boundary):
    """Tell where one is supported above the boundary and the other refuted."""

    def t(values):
        mean, spread = summary(values)
        n = values.shape[-1]
        return (mean - boundary) / (spread / np.sqrt(n)), -special.stdtrit(n - 1, ALPHA)

    (first, limit), (second, other) = t(before), t(now)
    ups, downs = (
        (first > limit) & (second < -other),
        (first < -limit) & (second > other),
    )
    return ups | downs


SHAPES = {
    "normal": lambda rng, size: rng.normal(size=size),
    "exponential": lambda rng, size: rng.exponential(size=size),
    "log-normal": lambda rng, size: rng.lognormal(size=size),
    "heavy": lambda rng, size: rng.standard_t(3, size=size),
    "two-valued": lambda rng, size: rng.random(size) < 0.5,
    "rarely-else": lambda rng, size: rng.random(size) < 0.1,
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n, m", [(5, 5), (8, 8), (5, 16), (16, 16)])
def test_the_same_values_move_less_often_than_the_level_says(shape, n, m):
    """At 0.001 too, far above the level used, where simulation can see."""
    rng = np.random.default_rng(1)
    size = (50_000, n + m)
    values = SHAPES[shape](rng, size) + 0.01 * rng.normal(size=size)
    before, now = values[:, :n], values[:, n:]
    clusters = shape in ("two-valued", "rarely-else")
    apart = 2.0 ** (1 - n - m) if clusters else 0.0
    assert_rate_at_most(LEVEL + apart, moved(before, now))
    if not clusters:
        assert_rate_at_most(0.001, moved(before, now, 0.001))


def test_many_places_at_once_are_those_compared_one_by_one():
    rng = np.random.default_rng(2)
    values = rng.normal(rng.normal(1, 2, (300, 2, 1)), 1, (300, 2, 8))
    red = [
        contradiction(accepted(a, grain=0), RULE.decide(b), places=1) != ""
        for a, b in values
    ]
    before, now = values[:, 0], values[:, 1]
    expected = moved(before, now, FAMILY / 2) | opposite(before, now, 1)
    assert red == expected.tolist()
    assert 20 < sum(red) < 280


def runs(effects, draw):
    """Tell for each run whether it is red: places share pairs, as ours do.

    `draw` gives each pair's own value, which all places see beside their own.
    """
    red = []
    for _ in range(RUNS // 50):
        shared = draw((50, 1, 16))
        values = 0.7 * shared + 0.7 * draw((50, PLACES, 16)) + effects[:, None]
        before, now = values[..., :8], values[..., 8:]
        red.extend((moved(before, now) | opposite(before, now, 0)).any(1))
    return np.array(red)


@pytest.mark.parametrize("shape", ["normal", "record", "exponential"])
def test_identical_processes_make_at_most_one_run_in_a_hundred_red(shape):
    """With effects as the record has them: most far from the margin, some on it."""
    rng = np.random.default_rng(3)
    pool = residuals().ravel() if shape == "record" else rng.normal(size=100_000)
    if shape == "exponential":
        pool = rng.exponential(size=100_000) - 1
    effects = np.random.default_rng(4).normal(0, 3, PLACES)
    red = runs(effects, lambda size: rng.choice(pool, size))
    assert_rate_at_most(FAMILY, red)


def test_a_hundred_places_on_their_margins_use_up_half_of_the_rate():
    values = np.random.default_rng(5).normal(size=(400_000, 2, 8))
    found = opposite(values[:, 0], values[:, 1], 0)
    assert_rate_at_most(2 * ALPHA**2, found)
    assert found.any()
    assert pytest.approx(FAMILY / 2) == 100 * 2 * ALPHA**2


@pytest.mark.parametrize("n, shift", [(5, 20), (8, 6.5), (16, 2.8)])
def test_a_planted_shift_of_the_stated_size_is_seen_in_four_runs_of_five(n, shift):
    values = np.random.default_rng(6).normal(size=(20_000, 2, n))
    seen = moved(values[:, 0], values[:, 1] + shift).mean()
    assert 0.72 < seen < 0.88


def test_a_planted_fault_at_many_places_turns_the_run_red():
    rng = np.random.default_rng(7)
    values = rng.normal(rng.normal(0, 3, (PLACES, 1)), 1, (200, PLACES, 16))
    before, now = values[..., :8], values[..., 8:].copy()
    now[:, :40] -= 5
    red = (moved(before, now) | opposite(before, now, 0)).any(1)
    assert red.all()


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(lambda a, b: moved(a, b, FAMILY), id="without-bonferroni"),
        pytest.param(
            lambda a, b: (
                welch_p(a.mean(-1) - b.mean(-1), a.std(-1), 64, b.std(-1), 64) < LEVEL
            ),
            id="forgets-n",
        ),
        pytest.param(
            lambda a, b: np.abs(a.mean(-1) - b.mean(-1)) > 2 * a.std(-1) / np.sqrt(8),
            id="out-of-the-records-interval",
        ),
    ],
)
def test_families_that_are_red_too_often_are_caught(broken):
    values = np.random.default_rng(8).normal(size=(500, PLACES, 16))
    red = broken(values[..., :8], values[..., 8:]).any(1)
    with pytest.raises(AssertionError, match="of 500, limit"):
        assert_rate_at_most(FAMILY, red)


def holm(p_values):
    """What the page shows of p-values at places of one scale."""
    held = [SimpleNamespace(scale="x", place=n, p=p) for n, p in p_values.items()]
    return corrected(held).values()


@pytest.mark.parametrize("adjust, sound", [(holm, True), (dict.values, False)])
def test_holm_keeps_the_rate_of_even_one_false_pass_and_raw_p_values_do_not(
    adjust, sound
):
    p_values = np.random.default_rng(10).uniform(size=(4_000, 10))
    found = np.array([min(adjust(dict(enumerate(row)))) < 0.05 for row in p_values])
    if sound:
        assert_rate_at_most(0.05, found)
        return
    with pytest.raises(AssertionError, match="of 4000, limit"):
        assert_rate_at_most(0.05, found)
