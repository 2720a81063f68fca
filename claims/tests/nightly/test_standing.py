"""What is measured where, and where all stand after some nights."""

from dataclasses import replace

import numpy as np
import pytest

from claims.evidence.nights import log_e
from claims.nightly.allocation import choose
from claims.nightly.drawn import Drawn
from claims.nightly.history import SEEDS
from claims.nightly.process import Measured, key_of, process_of
from claims.nightly.simulation import night_of
from claims.nightly.standing import Standing
from claims.tests.nightly.simulated import ran


def test_as_many_are_chosen_in_their_order_as_the_budget_lets():
    """A network is paid for once; what does not fit is passed over."""
    cost = {("a", ""): 5.0, ("b", ""): 100.0, ("c", ""): 6.0}

    def chosen(network, budget):
        demands = {key: {"mlp": SEEDS} for key in cost}
        order = [*cost].index
        found = choose(demands, order, cost.get, {"mlp": network}, budget)
        return [claim for claim, _ in found]

    assert chosen(1.0, SEEDS + 11.0) == ["a", "c"]
    assert chosen(1.0, SEEDS + 10.9) == ["a"]
    assert chosen(9.0, 20.0) == []


def test_another_rule_recipe_or_accepted_value_is_another_process(places, monkeypatch):
    place = next(p for p in places if p.claim.rule.name == "superiority")
    same = process_of(place, 0)
    assert process_of(place, 0) == same
    others = [
        process_of(replace(place, claim=replace(place.claim, sentence="Other.")), 0),
        process_of(
            replace(
                place,
                claim=replace(place.claim, rule=replace(place.claim.rule, margin=9.0)),
            ),
            0,
        ),
        process_of(place, 1),
    ]
    key = " ".join(key_of(place))
    monkeypatch.setattr(
        "claims.nightly.process._fixed", lambda: {key: {"value": [1.0]}}
    )
    others.append(process_of(place, 0))
    assert len({row["process"] for row in [same, *others]}) == 5


def test_a_night_adds_its_coins_to_the_evidence(history, places, residuals):
    """Against the arithmetic of one place, from the values on file."""
    source = Drawn(residuals, seed=0)
    for day in range(3):
        ran(history, places, source, night_of(day))
    standing = Standing(history, len(places))
    assert len(standing.processes) == len(places)
    for process in standing.processes.values():
        rows = [
            r for r in history.rows("values") if r["process"] == process.row["process"]
        ]
        values = np.concatenate([row["values"] for row in rows])
        low, high = process.row["low"], process.row["high"]
        inside = (values > (-np.inf if low is None else low)) & (
            values < (np.inf if high is None else high)
        )
        assert process.log_e[0] == pytest.approx(
            log_e(inside.sum(), len(values), process.row["null_for"])
        )
        assert process.means[-1] == pytest.approx(values.mean())
        assert process.units == len(values) and process.visited == night_of(2)


def test_two_that_follow_a_history_stand_alike(history, places, residuals):
    """Night by night, or all at once."""
    source = Drawn(residuals, seed=0)
    standing = Standing(history, len(places))
    for day in range(5):
        ran(history, places, source, night_of(day))
        standing.follow()
    once = Standing(history, len(places))
    for process, other in zip(
        standing.processes.values(), once.processes.values(), strict=True
    ):
        assert vars(process) == vars(other)


def test_without_its_premise_a_unit_speaks_in_neither_direction(history, places):
    class Source(Drawn):
        def fresh(self, block, places, seconds):
            yield Measured(key_of(places[0]), [1e6, -1e6, 1e6, 1e6], unmet=True)

    ran(history, places, Source({}, seed=0))
    [process] = Standing(history, len(places)).processes.values()
    assert process.sums[:2] == [0, 0] and process.units == 4
    assert history.rows("values")[0]["unmet"] is True
