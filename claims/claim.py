"""What a claim is: one decorated function, written before anything is measured.

Its name is the id, its docstring the falsifiable sentence; the decorator says source,
rule, settings and all that the test looks at.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache, cached_property
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from claims.evidence import FEWEST, Rule, grain_of
from claims.papers import Number, Source, smallest_effect
from fixtures.scales import SCALES, Name, Scale

POINT = 1.0
"""Points of accuracy that count as an effect where the paper gives none."""

BROKEN = 20.0
"""Points of accuracy below the endpoints' mean from which a midpoint is broken.

"Tens of points": the papers' broken midpoints lie 20 to 80 points below."""

RANDOM = Name("random")
"""The setting of claims about random networks, at every scale."""

_declared: dict[str, "Claim"] = {}


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A falsifiable sentence of a paper and how it is decided; see :func:`claim`."""

    id: str
    sentence: str
    source: Source
    quantity: str
    rule: Rule
    settings: tuple[Name, ...]
    variants: tuple[str, ...] = ("",)
    effect: str = ""
    contrast: str = ""
    uses: Callable[["Place"], Sequence[str]] | None = None
    networks: int | None = None
    tuple_size: int = 2
    unit: str = "points"
    kind: str = "empirical"
    long: bool = False
    not_at: Mapping[str, str] = field(default_factory=dict)
    function: Callable[..., None] | None = field(
        default=None, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if not self.sentence:
            raise ValueError(
                f"{self.id} has no docstring: write the sentence that it decides"
            )
        for name in self.settings:
            if name != RANDOM and not _is_known(name):
                raise ValueError(f"{self.id} is asked of {_choices(name)}")
        if unknown := self.not_at.keys() - SCALES.keys():
            raise ValueError(
                f"{self.id} names the scale {', '.join(sorted(unknown))}: choose "
                f"{', '.join(SCALES)}"
            )
        if self.tuple_size < 1:
            raise ValueError(
                f"{self.id} is about tuples of {self.tuple_size}: give tuple_size= 1 "
                "or more"
            )
        fewest = FEWEST * self.tuple_size
        if self.networks is not None and self.networks < fewest:
            raise ValueError(
                f"{self.id} limits its networks to {self.networks}, which can't make "
                f"{FEWEST} independent units: give networks= {fewest} or more"
                + (
                    ", or tuple_size= 1 if its units are single networks"
                    if self.tuple_size == 2
                    else ""
                )
            )
        if (self.kind == "invariant") != (self.rule.name == "exact"):
            raise ValueError(
                f"{self.id} is of kind {self.kind!r} and its rule is {self.rule.name}: "
                "invariants, and no other claims, are decided by exact()"
            )
        for expression in filter(None, (self.effect, self.contrast)):
            self.source.check(expression)

    @property
    def topic(self) -> str:
        """The first part of its id."""
        return self.id.partition("/")[0]

    def places(self, scale: Scale) -> list["Place"]:
        """Return where it is asked at a scale.

        Left out are settings that the scale lacks, or of which it lacks one that the
        test looks at too, or of which it has too few networks to decide.  Claims about
        random networks are asked at every scale.
        """
        asked = scale.topics is None or self.topic in scale.topics
        if not asked or scale.whole in self.not_at:
            return []
        found = [
            Place(self, scale, setting, variant)
            for setting in self.settings
            for variant in self.variants
        ]
        return [
            place
            for place in found
            if all(name in scale for name in place.uses) and place.decidable
        ]


@dataclass(frozen=True)
class Place:
    """A claim at a scale, on a setting, in a variant."""

    claim: Claim
    scale: Scale
    setting: Name
    variant: str

    @property
    def name(self) -> str:
        """Setting and variant, as in ``plain-vgg weights``."""
        return f"{self.setting} {self.variant}".strip()

    @cached_property
    def uses(self) -> tuple[Name, ...]:
        """All settings whose networks the claim's test looks at.

        Raises
        ------
        ValueError
            No scale has one of them.
        """
        if self.setting == RANDOM:
            return ()
        uses = self.claim.uses
        names = dict.fromkeys(uses(self) if uses else [self.setting])
        for name in names:
            # Not known anywhere, it would leave the claim out everywhere, unseen.
            if not _is_known(name):
                raise ValueError(f"{self.claim.id} looks at {_choices(name)}")
        return tuple(map(Name, names))

    @cached_property
    def effect(self) -> Number | None:
        """The paper's value of what is measured here, if it gives one."""
        return self._number(self.claim.effect)

    @cached_property
    def margin(self) -> float:
        """The smallest effect of interest here, in the claim's unit.

        That of the rule where it states one; else a quarter of the paper's effect, or
        of the effect that a claim of absence is contrasted with; else 1 point.
        """
        if self.claim.rule.margin is not None:
            return self.claim.rule.margin
        given = self._number(self.claim.contrast) or self.effect
        margin = smallest_effect(given, self.claim.unit)
        if margin is None and self.claim.unit != "points":
            raise ValueError(
                f"{self.claim.id} has no margin on {self.name!r}: no table gives an "
                "effect there, so give the rule a constant of the topic as margin="
            )
        return POINT if margin is None else margin

    @property
    def grain(self) -> float:
        """The smallest step of what is measured, in the claim's unit."""
        return grain_of(self.claim.unit, self.scale.test_images)

    def _number(self, expression: str) -> Number | None:
        if not expression:
            return None
        where = self.setting, self.variant, self.scale.whole
        return self.claim.source.effect(expression, *where)

    def count(self, seeds: int | None = None) -> int:
        """Return how many networks of each setting it looks at.

        Parameters
        ----------
        seeds
            What ``--seeds`` says; None for the claim's own number, or the scale's, of
            the setting that has fewest.
        """
        own, fewer = self.claim.networks, self.scale.fewer
        if seeds is None:
            most = (fewer[name] for name in self._looked_at if name in fewer)
            count = min([own or self.scale.networks, *most])
        else:
            count = min(seeds, own or seeds)
        # Networks come in pairs: seeds that one claim has looked at, all look at.
        size = max(2, self.claim.tuple_size)
        return count // size * size

    @property
    def decidable(self) -> bool:
        """Whether the scale has networks for as many units as decide."""
        return self.count() >= FEWEST * self.claim.tuple_size

    def demand(self, seeds: int | None = None) -> dict[str, int]:
        """Return how many networks it looks at, by setting."""
        return dict.fromkeys(self._looked_at, self.count(seeds))

    @property
    def _looked_at(self) -> list[Name]:
        """The settings that it looks at by the names that they have at the scale."""
        return [*map(self.scale.canonical, self.uses)]

    def record(self) -> dict[str, Any]:
        """Return what is known of a result before it is measured."""
        claim, effect = self.claim, self.effect
        same = ("id", "kind", "sentence", "quantity", "unit", "long")
        empty = "estimate low high spread p p_against p_flip p_page n detectable needed"
        empty += " share share_low share_high alpha curves"
        return dict.fromkeys(empty.split()) | {
            **{name: getattr(claim, name) for name in same},
            "setting": str(self.setting),
            "variant": self.variant,
            "scale": self.scale.name,
            "source": str(claim.source),
            "rule": claim.rule.name,
            "decision": "",
            "margin": self.margin,
            "leaning": "",
            "grain": self.grain,
            "effect": effect and effect.value,
            "effect_spread": effect and effect.spread,
            "pairs": [],
            "paper": [],
            "fixtures": [],
        }


def claim(
    *,
    source: Source,
    quantity: str,
    rule: Rule,
    settings: str | Sequence[str],
    variants: str | Sequence[str] = ("",),
    **declared: Any,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function the test of a claim, on each of its settings and variants.

    The function takes ``trial``, a :class:`claims.trial.Trial`, and decides it once.
    Its docstring is the claim's sentence; its module and name are the id.

    Parameters
    ----------
    source
        Where it is said: :func:`claims.papers.paper`, or ``raised`` for a question that
        a paper raises.
    quantity
        What is measured for each independent unit and enters the rule.
    rule
        One of :mod:`claims.evidence`; without a margin of its own it takes a quarter of
        the paper's effect, see :attr:`Place.margin`.
    settings
        Where it is asserted; words, or a sequence.
    variants
        Matching methods or other variants that are decided separately.
    effect
        Expression over the columns of the source's tables: the paper's value of the
        quantity.
    contrast
        Likewise for the effect that a claim of absence is contrasted with; it gives the
        margin only.
    uses
        From a :class:`Place` to all settings that the test looks at; by default its own
        alone.  Looking at another one is an error.
    networks
        The most networks of each setting that it looks at; by default the scale's.
    tuple_size
        Networks of each unit: 2 for pairs, the default, 1 for single networks, or those
        of a tuple.
    unit
        Unit of the quantity: "points" (of accuracy, in percent) or another one of
        :data:`claims.evidence.UNITS`.
    kind
        ``"empirical"``, or ``"invariant"`` if it must hold exactly, up to rounding.
    long
        Asked with ``--long`` only, and in records.
    not_at
        The scales at which it is not asked, with reasons.

    Examples
    --------
    >>> from claims.evidence import superiority
    >>> from claims.papers import paper
    >>> @claim(
    ...     source=paper("2402.05966v1", "section 4.1", tables=("1", "4")),
    ...     effect="rescale - repair",
    ...     quantity="RESCALE minus REPAIR, test accuracy at the midpoint",
    ...     rule=superiority(),
    ...     settings="plain-vgg",
    ...     variants="weights activations",
    ... )
    ... def test_rescale_is_better(trial):
    ...     \"\"\"At the midpoint of plain VGG, RESCALE beats REPAIR.\"\"\"
    ...     middle = trial.midpoints("", "repair", "rescale")
    ...     trial.decide(middle.rescale - middle.repair, columns=middle)
    >>> places = test_rescale_is_better.pytestmark[0].args[0].places(SCALES["digits"])
    >>> [(place.name, place.margin) for place in places]
    [('plain-vgg weights', 2.0), ('plain-vgg activations', 5.0)]
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        made = Claim(
            id=f"{_name(function.__module__)}/{_name(function.__name__)}",
            sentence=" ".join((inspect.getdoc(function) or "").split()),
            source=source,
            quantity=quantity,
            rule=rule,
            settings=tuple(map(Name, _words(settings))),
            variants=tuple(_words(variants)),
            function=function,
            **declared,
        )
        _declared[made.id] = made
        return pytest.mark.claim(made)(function)

    return decorate


def at(**levels: Iterable[Any]) -> Callable[[Place], list[Name]]:
    """Return what names a place's setting at some levels, for ``uses=``.

    Of one of the factors of :meth:`fixtures.scales.Name.at`, or all combinations.
    """
    combined = product(*levels.values())
    choices = [dict(zip(levels, each, strict=True)) for each in combined]
    return lambda place: [place.setting.at(**choice) for choice in choices]


def _is_known(setting: str) -> bool:
    """Return whether any scale has a setting, also under an alias."""
    return any(setting in scale for scale in SCALES.values())


def _choices(setting: str) -> str:
    """Say that no scale has a setting, and which are near."""
    known = {name for scale in SCALES.values() for name in scale.settings}
    near = get_close_matches(setting, known, 3) or sorted(known)
    return f"{str(setting)!r}, which no scale has: choose {', '.join(near)}"


def _words(given: str | Sequence[str]) -> Sequence[str]:
    return (given.split() or [""]) if isinstance(given, str) else given


def _name(python: str) -> str:
    return python.rpartition(".")[2].removeprefix("test_").replace("_", "-")


@cache
def declared() -> dict[str, Claim]:
    """Return every claim of the suite by its id, from all modules of topics."""
    package = str(Path(__file__).parent)
    names = [module.name for module in pkgutil.iter_modules([package])]
    topics = [name for name in names if name.startswith("test_")]
    for name in topics:
        importlib.import_module(f"claims.{name}")
    topics = [*map(_name, topics)]
    return {id: made for id, made in _declared.items() if made.topic in topics}


def places_of(scale: Scale) -> list[Place]:
    """Return all places of a scale, ``long`` ones too."""
    return [place for made in declared().values() for place in made.places(scale)]
