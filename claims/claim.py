"""What a claim is, and the trial in which a test decides it.

A claim is written down before it is measured: sentence, source, settings, and the rule
with its margin.  Its test says what is measured; :class:`Trial` decides and records.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from scipy.stats import spearmanr

from claims.decisions import Decision, Verdict
from reports.results import check_curves

if TYPE_CHECKING:  # torch is not needed to know what is claimed
    from claims.bench import Bench, Network, Pair, Setting, Several

Rule = Callable[..., Decision]
"""One of :mod:`claims.decisions` with its margin fixed by ``functools.partial``."""

BROKEN = 20.0
"""Points of accuracy below the endpoints' mean from which a midpoint is broken.

"Tens of points": the papers' broken midpoints lie 20 to 80 points below."""

RANDOM = "random"
"""The setting of claims about random networks, at every scale."""

TOPICS = {"cifar10": {"biases", "matching", "renormalization", "same-basin"}}
"""By scale, the topics that are asked there, where not all.

At ``cifar10`` what two cores can measure on real images in a quarter of an hour."""

CLAIMS: dict[str, "Claim"] = {}
"""Every claim that was declared, by id."""


def whole_scale(name: str) -> str:
    """Return the scale that one with fewer epochs is made from.

    Examples
    --------
    >>> whole_scale("cifar10-epochs1"), whole_scale("cifar10")
    ('cifar10', 'cifar10')
    """
    return name.partition("-epochs")[0]


def own_setting(place: "Place") -> tuple[str, ...]:
    """Return the one setting that most tests look at."""
    return (place.setting,)


class Refuted(AssertionError):
    """The measured interval lies on the other side of the claim's margin."""


class Inconclusive(pytest.skip.Exception):
    """The interval contains the margin: neither supported nor refuted."""


@dataclass(frozen=True)
class PaperValue:
    """A number that the paper gives, with its spread over repetitions if it does.

    Attributes
    ----------
    label
        What it was measured on, in the paper's words.
    value, spread
        In the unit of the claim, or of one of its columns.
    setting, variant
        Our setting and variant that it stands beside; "" for all.
    """

    label: str
    value: float
    spread: float | None = None
    setting: str = ""
    variant: str = ""

    def concerns(self, setting: str, variant: str) -> bool:
        """Whether the number stands beside this setting and variant."""
        return self.setting in ("", setting) and self.variant in ("", variant)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A falsifiable sentence of a paper and how it is decided.

    Attributes
    ----------
    id
        ``topic/claim``; the history of results is keyed by it.
    sentence
        What the paper says, so that it can turn out false.
    source
        Paper, section, table.
    quantity
        What is measured for each independent pair and enters the rule.
    rule
        Decision rule with its margin, fixed before the first measurement.
    settings
        Where the paper asserts it; names of :mod:`fixtures.scales`.
    variants
        Matching methods or other variants that are decided separately.
    uses
        From a :class:`Place` to the names of all settings that the test looks at
        there; by default its own alone.  The claim is not asserted at a scale that
        lacks one of them.
    networks
        The most networks of each setting that the test looks at, or these by the
        place's setting; all, by default and where that setting has no number.
    tuple_size
        Networks of each tuple, if the test looks at tuples; of ``networks`` there are
        as many whole ones as fit.
    not_at
        From scales where it can't be asked to the reason.
    unit
        Unit of the quantity.
    paper
        The paper's numbers, shown beside ours.
    kind
        ``"empirical"``, or ``"invariant"`` if it must hold exactly up to rounding.
    refuted
        Where the claim is known not to hold: from (scale, setting, variant) to the
        reason with its figures.  The test becomes a strict xfail there.
    undecided
        Where it is known to be inconclusive, in the same form.  The reason stands
        beside the result; a test that is decided after all passes or fails as ever.
    """

    id: str
    sentence: str
    source: str
    quantity: str
    rule: Rule
    settings: Sequence[str]
    variants: Sequence[str] = ("",)
    uses: Callable[["Place"], Sequence[str]] = own_setting
    networks: int | Mapping[str, int] | None = None
    tuple_size: int | None = None
    not_at: Mapping[str, str] = field(default_factory=dict)
    unit: str = "points"
    paper: Sequence[PaperValue] = ()
    kind: str = "empirical"
    refuted: Mapping[tuple[str, str, str], str] = field(default_factory=dict)
    undecided: Mapping[tuple[str, str, str], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.id in CLAIMS:
            raise ValueError(f"two claims are called {self.id!r}: choose another id")
        places = {(s, v) for s in self.settings for v in self.variants}
        for scale, setting, variant in (*self.refuted, *self.undecided):
            if (setting, variant) not in places:
                raise ValueError(
                    f"{self.id} is declared refuted or undecided at {scale} on "
                    f"{setting!r} {variant!r}, where it is not asserted"
                )
        by_setting = isinstance(self.networks, Mapping)
        limits = self.networks if by_setting else {"": self.networks}
        if by_setting and (unknown := {*limits} - {*self.settings}):
            raise ValueError(
                f"{self.id} limits the networks of {', '.join(sorted(unknown))}, where "
                f"it is not asserted: choose from {', '.join(self.settings)}"
            )
        fewest = 2 * (self.tuple_size or 2)
        if any(most is not None and most < fewest for most in limits.values()):
            raise ValueError(
                f"{self.id} limits its networks to fewer than {fewest}, which decide "
                "nothing: raise networks="
            )
        if self.tuple_size is not None and self.tuple_size < 2:
            raise ValueError(
                f"{self.id} is about tuples of {self.tuple_size}: give tuple_size= 2 "
                "or more"
            )
        CLAIMS[self.id] = self

    @property
    def topic(self) -> str:
        """The first part of its id."""
        return self.id.partition("/")[0]

    def test(self, function: Callable[..., None]) -> Callable[..., None]:
        """Make a function the test of this claim, on each setting and variant.

        The function takes ``trial`` and ends with :meth:`Trial.decide` (or
        :meth:`Trial.examine`).
        """
        return pytest.mark.claim(self)(function)

    def parameters(self, scale: str, settings: Collection[str]) -> list[Any]:
        """Return the places of this claim as pytest parameters with their marks.

        Parameters
        ----------
        scale
            Name of the scale.
        settings
            The settings that the scale has.  Places whose own setting, or one that
            the test looks at, is not among them are left out, but for those of random
            networks.  At some scales whole topics are, see `TOPICS`, or the claim is.
        """
        whole = whole_scale(scale)
        if whole in self.not_at or self.topic not in TOPICS.get(whole, {self.topic}):
            return []
        places = [
            Place(self, scale, setting, variant)
            for setting in self.settings
            for variant in self.variants
        ]
        return [
            pytest.param(
                place,
                id="-".join(filter(None, (place.setting, place.variant))),
                marks=self._marks(scale, place.setting, place.variant),
            )
            for place in places
            if place.setting == RANDOM or {place.setting, *place.uses} <= {*settings}
        ]

    def _marks(self, scale: str, setting: str, variant: str) -> list[Any]:
        reason = self.refuted.get((scale, setting, variant))
        if reason is None:
            return []
        # Only a refutation is expected: an error or an inconclusive trial shows.
        return [pytest.mark.xfail(reason=reason, raises=Refuted, strict=True)]


@dataclass(frozen=True)
class Place:
    """A claim at a scale, on a setting, in a variant."""

    claim: Claim
    scale: str
    setting: str
    variant: str

    @property
    def uses(self) -> tuple[str, ...]:
        """All settings whose networks the claim's test looks at, its own first."""
        if self.setting == RANDOM:
            return ()
        names = dict.fromkeys(self.claim.uses(self))
        return tuple(sorted(names, key=lambda name: name != self.setting))

    @property
    def networks(self) -> int | None:
        """The most networks of each setting that it looks at, None for all."""
        most = self.claim.networks
        return most.get(self.setting) if isinstance(most, Mapping) else most

    def demand(self, seeds: int) -> dict[str, int]:
        """Return how many networks it looks at, by setting.

        Parameters
        ----------
        seeds
            How many there are of each.  Where they make fewer than two tuples, and
            decide nothing, none are looked at.
        """
        count, size = min(seeds, self.networks or seeds), self.claim.tuple_size
        if size is not None:
            count = count // size * size if count >= 2 * size else 0
        return dict.fromkeys(self.uses, count) if count else {}

    @property
    def undecided(self) -> str:
        """Why the claim is known to be inconclusive here, "" where it is not."""
        return self.claim.undecided.get((self.scale, self.setting, self.variant), "")

    def record(self) -> dict[str, Any]:
        """Return what is known of a result before it is measured."""
        claim = self.claim
        place = (self.scale, self.setting, self.variant)
        refuted = claim.refuted.get(place, "")
        return {
            "id": claim.id,
            "setting": self.setting,
            "variant": self.variant,
            "scale": self.scale,
            "kind": claim.kind,
            "sentence": claim.sentence,
            "source": claim.source,
            "quantity": claim.quantity,
            "unit": claim.unit,
            "expected": "refuted" if refuted else "supported",
            "reason": refuted or self.undecided,
            "paper": [
                {"label": value.label, "value": value.value, "spread": value.spread}
                for value in claim.paper
                if value.concerns(self.setting, self.variant)
            ],
            "pairs": [],
            "curves": None,
            "fixtures": [],
        } | dict.fromkeys(
            ("estimate", "low", "high", "p", "n", "detectable", "margin", "alpha")
        )


class Trial:
    """A claim on a setting, about to be decided: the ``trial`` of a claim's test.

    Attributes
    ----------
    setting, variant
        The setting's name and, if the claim has variants, the variant's.
    record
        The result so far, one line of ``results.jsonl``.
    """

    def __init__(self, place: Place, bench: "Bench"):
        self.place = place
        self.setting = place.setting
        self.variant = place.variant
        self.record = place.record()
        self._bench = bench
        self._used: dict[Setting, set[int]] = {}
        self._names: list[str] | None = None
        self._started = time.perf_counter()

    def using(self, setting: str | None = None) -> "Setting":
        """Return a setting, by default that of this trial.

        Raises
        ------
        ValueError
            The claim does not declare that its test looks at it.
        """
        name = setting or self.setting
        if name not in self.place.uses:
            raise ValueError(
                f"{self.place.claim.id} looks at setting {name!r}, which it does not "
                "declare: add it to what the claim's uses= returns"
            )
        found = self._bench.setting(name)
        self._used.setdefault(found, set())
        return found

    def networks(
        self, setting: str | None = None, count: int | None = None
    ) -> list["Network"]:
        """Return a setting's trained networks: all, but no more than ``count``.

        Here and below, all are those that the claim declares to look at.
        """
        limits = [n for n in (count, self.place.networks) if n is not None]
        found = self.using(setting).networks(min(limits, default=None))
        self._note(found, [f"seed {network.seed}" for network in found])
        return found

    def pairs(
        self, setting: str | None = None, count: int | None = None
    ) -> list["Pair"]:
        """Return a setting's independent pairs, but no more than ``count``.

        No network is in two of them.
        """
        most = self.place.networks
        limits = [n for n in (count, most and most // 2) if n is not None]
        found = self.using(setting).pairs(min(limits, default=None))
        looked_at = [network for pair in found for network in (pair.a, pair.b)]
        self._note(looked_at, [pair.name for pair in found])
        return found

    def tuples(self) -> list["Several"]:
        """Return independent tuples of networks: no network is in two of them.

        Raises
        ------
        Inconclusive
            There are networks for fewer than two tuples.
        ValueError
            The claim does not declare how many networks a tuple has.
        """
        size = self.place.claim.tuple_size
        if size is None:
            raise ValueError(
                f"{self.place.claim.id} looks at tuples and does not declare of how "
                "many networks: give the claim a tuple_size="
            )
        if len(self._bench.seeds) < 2 * size:
            # Not one network is looked at, or trained.
            self._too_few(f"two tuples of {size} networks need --seeds {2 * size}")
        most = self.place.networks
        found = self.using().tuples(size)[: None if most is None else most // size]
        looked_at = [network for several in found for network in several.networks]
        self._note(looked_at, [several.name for several in found])
        return found

    def _too_few(self, decision: str) -> NoReturn:
        """End as inconclusive, for want of networks."""
        __tracebackhide__ = True
        self.record |= {
            "rule": "",
            "decision": decision,
            "verdict": Verdict.INCONCLUSIVE.value,
            "seconds": self._seconds(),
        }
        raise Inconclusive(f"{self.place.claim.id}: {decision}")

    def _seconds(self) -> float:
        return round(time.perf_counter() - self._started, 3)

    def _note(self, networks: Iterable["Network"], names: list[str]) -> None:
        """Note what is looked at; what was asked for first names the values to come."""
        for network in networks:
            self._used[network.setting].add(network.seed)
        self._names = self._names or names

    def decide(
        self,
        values: Sequence[float],
        *,
        names: Sequence[str] | None = None,
        curves: Mapping[str, Any] | None = None,
        unmet: str = "",
        **columns: Sequence[float],
    ) -> None:
        """Decide the claim on one value per independent pair, and record it.

        Parameters
        ----------
        values
            What enters the rule, one number per pair.
        names
            What the values belong to; by default the pairs (or networks, or tuples)
            that were asked for first.
        curves
            Curves behind the values, for the report: what they hold is said in
            :func:`reports.results.check_curves`.
        unmet
            Why these networks are not what the claim is about; "" if they are.
            Otherwise it is inconclusive, whatever was measured.
        **columns
            What the values were computed from, for the report.

        Raises
        ------
        Refuted
            The interval lies on the other side of the margin.
        Inconclusive
            The interval contains the margin, the claim's premise is not met, or there
            is only one value.
        ValueError
            The curves cannot be drawn.
        """
        __tracebackhide__ = True  # the message says what was measured
        claim = self.place.claim
        check_curves(curves)
        if len(values) == 1 and claim.kind == "empirical":
            self._too_few("one value decides nothing: raise --seeds")
        self._tabulate(values, names, columns)
        self.record["curves"] = curves
        decision = claim.rule(values, unit=claim.unit)
        if unmet:
            statement = f"premise not met: {unmet} ({decision.statement})"
            verdict = Verdict.INCONCLUSIVE
            decision = replace(decision, statement=statement, verdict=verdict, p=None)
        self._conclude(decision)

    def decide_trend(
        self,
        levels: Mapping[str, Sequence[float]],
        *,
        names: Sequence[str] | None = None,
        x: Sequence[float] | None = None,
        x_label: str = "",
        x_scale: str = "linear",
        y_label: str = "",
        curves: Mapping[str, Any] | None = None,
    ) -> None:
        """Decide a claim about ordered levels; parameters and errors as above.

        Parameters
        ----------
        levels
            From each level's name, in the claim's order, to the values of all pairs.
            What is shown as decided is each pair's rank correlation with the level.
        x
            The levels' numbers, for the report's curve over them; without them the
            levels are evenly spaced. The decision knows their order only.
        x_label, y_label
            What the levels' numbers, and the values, are, with their unit.
        x_scale
            ``"linear"`` or ``"log"``.
        names
            As for :meth:`decide`.
        curves
            Shown instead of the curve over the levels.
        """
        __tracebackhide__ = True
        rows = list(zip(*levels.values(), strict=True))
        if curves is None:
            curves = {
                "names": list(levels),
                **({} if x is None else {"x": list(x)}),
                "x_label": x_label,
                "x_scale": x_scale,
                "unit": y_label,
                "lines": {"": [list(row) for row in rows]},
            }
        check_curves(curves)
        order = range(len(levels))
        # Constant rows have no correlation; the rule takes them as ties.
        ranks = [
            float(spearmanr(order, row).statistic) if len(set(row)) > 1 else 0.0
            for row in rows
        ]
        self._tabulate(ranks, names, levels)
        self.record["curves"] = curves
        self._conclude(self.place.claim.rule(rows, unit=self.place.claim.unit))

    def _tabulate(
        self,
        values: Sequence[float],
        names: Sequence[str] | None,
        columns: Mapping[str, Sequence[float]],
    ) -> None:
        if names is None:
            names = self._names or [str(number) for number in range(len(values))]
        rows = zip(names, values, *columns.values(), strict=True)
        heads = ("pair", *columns, "decided")
        self.record["pairs"] = [
            dict(zip(heads, (name, *rest, value), strict=True))
            for name, value, *rest in rows
        ]

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
        decision = self.place.claim.rule(deviations, unit=self.place.claim.unit)
        if failure is not None and decision.verdict is Verdict.SUPPORTED:
            raise failure  # the check failed for another reason than a deviation
        self._conclude(decision, failure)

    def _conclude(self, decision: Decision, cause: BaseException | None = None) -> None:
        __tracebackhide__ = True
        self.record |= {
            key: value
            for key, value in asdict(decision).items()
            if key not in ("statement", "verdict")
        }
        self.record["decision"] = decision.statement
        self.record["fixtures"] = [
            setting.provenance(seeds) for setting, seeds in self._used.items()
        ]
        self.record["verdict"] = decision.verdict.value
        self.record["seconds"] = self._seconds()
        message = f"{self.place.claim.id}: {describe(decision)}"
        if decision.verdict is Verdict.REFUTED:
            raise Refuted(message) from cause
        if decision.verdict is Verdict.INCONCLUSIVE:
            raise Inconclusive(message)


def describe(decision: Decision) -> str:
    """Return a decision in one line."""
    interval = (
        "" if decision.low is None else f" [{decision.low:.3g}, {decision.high:.3g}]"
    )
    return (
        f"{decision.verdict.value}: measured {decision.estimate:.3g}{interval} "
        f"{decision.unit}, n = {decision.n}; claimed: {decision.statement}"
    )
