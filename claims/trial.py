"""The trial in which a claim is decided on one setting: the ``trial`` of its test."""

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from claims.claim import Place
from claims.evidence import Decision, Verdict
from claims.measure import Bench, Network, Pair, Repair, Setting, Several
from fixtures.scales import Name
from reports.results import LACKING, check_curves

Floats = np.ndarray


class Columns(dict[str, Floats]):
    """Named columns, one value per unit each; a column is an attribute too.

    Examples
    --------
    >>> columns = Columns(midpoint=np.array([10, 12]), repair=np.array([70, 75]))
    >>> columns.repair - columns.midpoint
    array([60, 63])
    """

    def __getattr__(self, name: str) -> Floats:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(
                f"there is no column {name!r}: choose {', '.join(self)}"
            ) from None


class Trial:
    """A claim on a setting, about to be decided.

    Attributes
    ----------
    place, setting, variant, scale
        Where it is decided.
    record
        The result so far, one line of ``results.jsonl``.
    """

    def __init__(self, place: Place, bench: Bench, seeds: int | None = None):
        self.place, self.setting, self.variant = place, place.setting, place.variant
        self.scale = place.scale
        self.record = place.record()
        self._bench, self._count = bench, place.count(seeds)
        self._used: dict[Setting, set[int]] = {}
        self._names: list[str] | None = None
        self._started = time.perf_counter()

    def using(self, setting: str | None = None) -> Setting:
        """Return a setting, by default that of this trial.

        Raises
        ------
        ValueError
            The claim does not declare that its test looks at it.
        """
        name = self.scale.canonical(setting or self.setting)
        if name not in self.place.demand():
            raise ValueError(
                f"{self.place.claim.id} looks at setting {str(name)!r}, which it does "
                "not declare: add it to what the claim's uses= returns"
            )
        found = self._bench.setting(name)
        self._used.setdefault(found, set())
        return found

    def networks(self, setting: str | None = None) -> list[Network]:
        """Return a setting's networks, as many as the claim declares."""
        found = self.using(setting).networks(self._count)
        self._note(found, [f"seed {network.seed}" for network in found])
        return found

    def pairs(self, setting: str | None = None) -> list[Pair]:
        """Return a setting's independent pairs: no network is in two of them.

        Raises
        ------
        ValueError
            The claim declares that its units are single networks, of which it may have
            too few for pairs that decide.
        """
        if self.place.claim.tuple_size == 1:
            raise ValueError(
                f"{self.place.claim.id} looks at pairs and declares tuple_size=1, "
                "single networks: leave that out"
            )
        found = self.using(setting).pairs(self._count // 2)
        self._note([n for p in found for n in (p.a, p.b)], [p.name for p in found])
        return found

    def tuples(self, setting: str | None = None) -> list[Several]:
        """Return independent tuples of networks: no network is in two of them.

        Raises
        ------
        ValueError
            The claim does not declare how many networks a tuple has.
        """
        size = self.place.claim.tuple_size
        if size < 3:
            raise ValueError(
                f"{self.place.claim.id} looks at tuples and does not declare of how "
                "many networks: give the claim a tuple_size="
            )
        found = self.using(setting).tuples(size, self._count // size)
        self._note([n for t in found for n in t.networks], [t.name for t in found])
        return found

    def origins(self, copies: Sequence[Network]) -> list[Network]:
        """Return the networks that others were made from, one for each."""
        setting = self.using(copies[0].setting.name)
        parent = self.using(setting.recipe.parent.name)
        found = [parent.network(setting.recipe.origin(copy.seed)) for copy in copies]
        self._note(found, [])
        return found

    def parents(self, setting: str | None = None) -> list[Pair]:
        """Return for each of a setting's pairs that of the networks' origins."""
        return [Pair(*self.origins([pair.a, pair.b])) for pair in self.pairs(setting)]

    def _note(self, networks: Iterable[Network], names: list[str]) -> None:
        """Note what is looked at; what was asked for first names the values to come."""
        for network in networks:
            self._used[network.setting].add(network.seed)
        self._names = self._names or names or None

    def by_setting(self, measure: Callable[[Name], ArrayLike]) -> dict[Name, Floats]:
        """Return what is measured on each setting that the claim uses, by its name."""
        return {name: np.asarray(measure(name)) for name in self.place.uses}

    def each(
        self, measure: Callable[[Pair], float], setting: str | None = None
    ) -> Floats:
        """Return what is measured on each pair, one value per pair."""
        return np.array([measure(pair) for pair in self.pairs(setting)], dtype=float)

    def midpoints(
        self,
        *repairs: str | Repair,
        method: str | None = None,
        setting: str | None = None,
        **more: Repair,
    ) -> Columns:
        """Return the test accuracy of each pair's midpoint, one column per repair.

        Parameters
        ----------
        *repairs
            Names of renormalizations, ``""`` for none; columns are called by them,
            with ``midpoint`` for none.
        method
            How pairs are matched: by default the trial's variant.
        setting
            By default the trial's.
        **more
            Further columns by their names.
        """
        method = self.variant if method is None else method
        named = {(str(r) or "midpoint").replace("-", "_"): r for r in repairs} | more

        def accuracies(repair: str | Repair) -> Floats:
            return self.each(lambda p: p.midpoint(method, repair).accuracy, setting)

        return Columns({name: accuracies(repair) for name, repair in named.items()})

    def endpoints(self, setting: str | None = None) -> Floats:
        """Return the mean test accuracy of each pair's two networks."""
        return self.each(lambda pair: pair.endpoints(), setting)

    def barriers(
        self,
        method: str | None = None,
        repair: str | Repair | None = None,
        setting: str | None = None,
    ) -> Floats:
        """Return endpoints' mean minus midpoint, test accuracy, for each pair.

        ``repair=None``: after RESET if there is BatchNorm.
        """
        method = self.variant if method is None else method
        return self.each(lambda pair: pair.barrier(method, repair), setting)

    def decide(
        self,
        values: ArrayLike,
        columns: Mapping[str, ArrayLike] | None = None,
        *,
        names: Sequence[str] | None = None,
        curves: Mapping[str, Any] | None = None,
        unmet: str = "",
        **more: ArrayLike,
    ) -> None:
        """Decide the claim on one value per independent unit, and record it.

        Parameters
        ----------
        values
            What enters the rule, one number per unit.
        columns, **more
            What the values were computed from, for the report.  Beside a column that
            the paper's tables have, its number is shown.
        names
            What the values belong to; by default the pairs (or networks, or tuples)
            that were asked for first.
        curves
            Curves for the report, see :func:`reports.results.check_curves`.
        unmet
            Why these networks are not what the claim is about; "" if they are.
            Otherwise it is inconclusive, whatever was measured.

        Raises
        ------
        RuntimeError
            It was decided before.
        ValueError
            The curves cannot be drawn, or the values can't be decided.
        """
        unmet = unmet or self._lacking()
        decision, rule = self._rule(values), self.place.claim.rule
        units = rule.units(np.asarray(values, dtype=float))
        self._conclude(
            decision, units, {**(columns or {}), **more}, names, curves, unmet
        )

    def decide_trend(
        self,
        levels: Mapping[str, ArrayLike],
        columns: Mapping[str, ArrayLike] | None = None,
        *,
        x: Sequence[float] | None = None,
        x_label: str = "",
        x_scale: str = "linear",
        y_label: str = "",
        **more: Any,
    ) -> None:
        """Decide a claim about ordered levels; other parameters as for `decide`.

        Parameters
        ----------
        levels
            From each level's name, in the claim's order, to the values of all units.
        x
            The levels' numbers, for the report's curve; without them they are evenly
            spaced.
        x_label, y_label
            What the levels' numbers, and the values, are, with their unit.
        x_scale
            ``"linear"`` or ``"log"``.
        """
        rows = np.column_stack([np.asarray(v, dtype=float) for v in levels.values()])
        axes = {"x_label": x_label, "x_scale": x_scale, "unit": y_label}
        axes |= {"names": [*levels], **({} if x is None else {"x": [*x]})}
        curves = {"lines": {"": rows}, **axes}
        self.decide(rows, {**levels, **(columns or {})}, **{"curves": curves} | more)

    def examine(self, check: Callable[[], None], deviations: list[float]) -> None:
        """Decide an invariant by a property test that notes deviations.

        Parameters
        ----------
        check
            A hypothesis test without arguments left; it appends to ``deviations``
            and asserts.
        deviations
            Sizes of all deviations that it saw.
        """
        __tracebackhide__ = True
        failure = None
        try:
            check()
        except AssertionError as error:  # hypothesis has shrunk the counterexample
            failure = error
        decision = self._rule(deviations)
        if failure is not None and decision.verdict is Verdict.SUPPORTED:
            raise failure  # the check failed for another reason than a deviation
        self._conclude(decision, [], {}, None, None, "")
        if failure is not None:
            self.record["error"] = str(failure)

    def _lacking(self) -> str:
        """Say what networks that come in lots lack of the number fixed beforehand."""
        fixed = self.place.count()
        if not self.scale.in_lots or self._count >= fixed:
            return ""
        return f"{self._count} of the {fixed} {LACKING}"

    def _rule(self, values: ArrayLike) -> Decision:
        place = self.place
        return place.claim.rule.decide(
            values, margin=place.margin, unit=place.claim.unit, grain=place.grain
        )

    def _conclude(
        self,
        decision: Decision,
        values: ArrayLike,
        columns: Mapping[str, ArrayLike],
        names: Sequence[str] | None,
        curves: Mapping[str, Any] | None,
        unmet: str,
    ) -> None:
        if "verdict" in self.record:
            raise RuntimeError(
                f"{self.place.claim.id} is decided twice: a test decides once, write "
                "another claim for the other quantity"
            )
        # Arrays become lists here, where what can't be written is an error of the test.
        curves = json.loads(json.dumps(curves, default=np.ndarray.tolist))
        check_curves(curves)
        if unmet:
            decision = replace(
                decision,
                statement=f"premise not met: {unmet} ({decision.statement})",
                verdict=Verdict.INCONCLUSIVE,
                leaning="",
                **dict.fromkeys(("p", "p_against", "p_flip", "p_page", "needed")),
            )
        values = np.asarray(values, dtype=float).tolist()
        columns = {name: np.asarray(each).tolist() for name, each in columns.items()}
        names = [*map(str, names or self._names or range(len(values)))]
        if taken := {"pair", "decided"} & columns.keys():
            raise ValueError(f"a column can't be called {taken.pop()!r}: rename it")
        heads = ("pair", *columns, "decided")
        rows = zip(names, *columns.values(), values, strict=True)
        self.record |= {
            name: getattr(decision, name)
            for name in self.record.keys() & decision.__dataclass_fields__.keys()
        }
        self.record |= {
            "decision": decision.statement,
            "pairs": [dict(zip(heads, row, strict=True)) for row in rows],
            "curves": curves,
            "paper": self._paper(columns),
            "fixtures": [each.provenance(seeds) for each, seeds in self._used.items()],
            "seconds": round(time.perf_counter() - self._started, 3),
            **self._share(decision),
            "verdict": decision.verdict.value,
        }

    def _share(self, decision: Decision) -> dict[str, float]:
        """Return estimate and interval over the paper's effect, where that is one."""
        effect = self.place.effect
        if effect is None or abs(effect.value) <= (effect.spread or 0.0):
            return {}
        if decision.low is None or decision.high is None:  # of a single unit
            return {}
        bounds = (decision.estimate, decision.low, decision.high)
        share, *ends = (bound / effect.value for bound in bounds)
        return {"share": share, "share_low": min(ends), "share_high": max(ends)}

    def _paper(self, columns: Iterable[str]) -> list[dict[str, Any]]:
        """Return the paper's numbers: of the quantity itself first, then by column."""
        claim, effect = self.place.claim, self.place.effect
        found = [] if effect is None else [("decided", claim.effect, effect)]
        where = self.setting, self.variant, self.scale.whole
        given = claim.source.columns(*where)
        found += [(name, n.label, n) for name in columns for n in given.get(name, [])]
        return [
            {"column": c, "label": label, "value": n.value, "spread": n.spread}
            for c, label, n in found
        ]
