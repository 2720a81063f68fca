"""What is measured of each method on each pair of networks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

import lmc
from claims.compare.methods import Method, Renormalizer, match, renormalize, short
from claims.measure import Pair, Setting
from fixtures import training
from lmc.graph import State

REPAIRS = ("", "reset", "repair", "rescale", "rescale-average", "reshift")
"""What is done to midpoints; "reset" where there is BatchNorm."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One method on one pair: a line of ``comparison.jsonl``.

    Attributes
    ----------
    scale, setting, pair, method
        What was measured; the pair by its seeds, as in ``"100-101"``.
    own
        Whether it is the method that was given, and not a built-in one.
    seconds
        That the matching took, on one thread or the GPU.
    objective
        Inner product of A's parameters and the permuted B's, what weight matching
        maximizes.
    distance
        L2 distance of A's parameters and the permuted B's.
    barrier
        Of the test accuracy along the line, in points (arXiv 2402.05966, Definition
        2.1); with BatchNorm each network between the endpoints is RESET.
    midpoints
        The midpoint's test accuracy in percent after each renormalization,
        ``"midpoint"`` for none.
    """

    scale: str
    setting: str
    pair: str
    method: str
    own: bool
    seconds: float
    objective: float
    distance: float
    barrier: float
    midpoints: dict[str, float]

    @property
    def accuracies(self) -> dict[str, float]:
        """All that methods are compared by, in points: barrier and midpoints."""
        return {"barrier": self.barrier, **self.midpoints}

    def row(self) -> dict[str, Any]:
        """Return it as one flat row, a column for each midpoint."""
        row = asdict(self)
        midpoints = row.pop("midpoints")
        return row | midpoints


class Matched(Pair):
    """A pair whose B is permuted by a permutation that is given.

    Nothing is remembered of what is measured on it: no key covers the code of a method
    that lies outside of this repository.
    """

    def __init__(self, pair: Pair, permutation: lmc.Permutation):
        super().__init__(pair.a, pair.b)
        self._given = permutation

    def permutation(self, method: str = "") -> lmc.Permutation:
        """Return the permutation that was given."""
        return self._given

    def objective(self, method: str = "") -> float:
        """Return the inner product of both networks' parameters."""
        b = self.matched("")
        return sum(
            float((self.a.state[name].double() * b[name].double()).sum())
            for name in self.setting.parameters
        )

    def barrier_on_line(self) -> float:
        """Return the barrier of the test accuracy, with RESET if there is BatchNorm."""
        setting = self.setting
        graph, train = setting.symmetry.graph, setting.batches("train")

        def reset(state: State, _: float) -> State:
            return lmc.reset(graph, state, train)

        with training.single_thread(setting.device):
            return lmc.curve(
                setting.model,
                self.a.state,
                self.matched(""),
                setting.batches("test"),
                repair=reset if setting.batchnorm else None,
            ).accuracy_barrier

    def measured(
        self,
        kind: str,
        spec: Mapping[str, Any],
        measure: Callable[[], Mapping[str, Tensor]],
    ) -> dict[str, Tensor]:
        """Measure."""
        with training.single_thread(self.setting.device):
            return dict(measure())


@dataclass(frozen=True)
class Comparison:
    """What is compared: methods, and a renormalizer of one's own with its name."""

    methods: Sequence[Method]
    renormalizer: tuple[str, Renormalizer] | None = None

    def measure(self, setting: Setting, scale: str) -> Iterator[Measured]:
        """Measure all methods on all pairs of a setting of a scale, pair by pair.

        The methods take turns, so that what slows the machine slows all of them.
        """
        for pair in setting.pairs():
            for method in self.methods:
                with training.single_thread(setting.device):
                    found = match(method, pair.a, pair.b)
                matched = Matched(pair, found.permutation)
                yield Measured(
                    scale=scale,
                    setting=str(setting.name),
                    pair=pair.name,
                    method=method.name,
                    own=method.own,
                    seconds=found.seconds,
                    objective=matched.objective(),
                    distance=matched.distance("", statistics=False),
                    barrier=matched.barrier_on_line(),
                    midpoints=self._midpoints(matched),
                )

    def check(self, setting: Setting) -> None:
        """Check methods of one's own on an untrained network and a shuffled copy.

        They are called twice, before anybody looks at networks: a slip must not use up
        fresh seeds.

        Raises
        ------
        ValueError
            As by `match` and `renormalize`.
        """
        a = setting.recipe.build_model().state_dict()
        generator = torch.Generator().manual_seed(0)
        b = lmc.Permutation.random(setting.symmetry, generator).apply(a)
        setting.take({0: a, 1: b})
        [pair] = setting.pairs(1)
        for method in self.methods:
            if method.own:
                match(method, pair.a, pair.b, again=True)
        if self.renormalizer is not None:
            alone = Matched(pair, pair.permutation("none"))
            _renormalized(self.renormalizer, alone, again=True)

    def _midpoints(self, pair: Matched) -> dict[str, float]:
        repairs = [r for r in REPAIRS if r != "reset" or pair.setting.batchnorm]
        found = {
            repair or "midpoint": pair.midpoint("", repair).accuracy
            for repair in repairs
        }
        if self.renormalizer is not None:
            state = _renormalized(self.renormalizer, pair)
            _, found[short(self.renormalizer[0])] = pair.setting.evaluate(state)
        return found


def _renormalized(
    given: tuple[str, Renormalizer], pair: Matched, again: bool = False
) -> dict[str, Tensor]:
    """Return a pair's midpoint, renormalized by a function of one's own."""
    middle, b = pair.middle("").state, pair.matched("")
    with training.single_thread(pair.setting.device):
        return renormalize(*given, pair.a, b, middle, again)
