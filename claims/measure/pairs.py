"""Two networks, and what lies between them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial, wraps
from typing import Any

from torch import Tensor

import lmc
from claims.measure.architecture import (
    Architecture,
    Measured,
    Subject,
    as_values,
)
from claims.measure.networks import Network
from fixtures.datasets import Split
from lmc.graph import State
from lmc.interpolation import Run


@dataclass(frozen=True)
class Repair:
    """How a midpoint is renormalized.

    Attributes
    ----------
    method
        ``""`` for not at all, ``"reset"`` or one of
        :data:`lmc.renormalization.METHODS`.
    sequential
        Layer by layer.
    corrected
        By statistics taken after the renormalization of earlier layers, as in the
        published code; otherwise by those of the midpoint as it is.
    by_batch
        By the statistics of each batch that is evaluated, with only the endpoints'
        from the training data.
    samples
        Number of training samples that all statistics are taken from; None for all.
    layers
        ``"protocol"``, those of the published code, or ``"all"`` convolutions and
        linear layers but the last.
    """

    method: str = ""
    sequential: bool = False
    corrected: bool = True
    by_batch: bool = False
    samples: int | None = None
    layers: str = "protocol"

    def __post_init__(self) -> None:
        if not self.corrected and (self.method in ("", "reset") or self.by_batch):
            raise ValueError(
                f"method {self.method!r}, by_batch={self.by_batch} has no uncorrected "
                "statistics: leave out corrected=False"
            )


@dataclass(frozen=True, eq=False)
class Middle:
    """A network between others: its state, and how it runs if not as the model."""

    state: dict[str, Tensor]
    run: Run | None = None

    def evaluate(self, setting: Architecture, split: Split = "test") -> list[float]:
        """Return its loss and accuracy."""
        return setting.evaluate(self.state, split, self.run)


class Pair(Subject):
    """Two networks, a and b, of one architecture; its name is ``"0-1"`` by seeds."""

    def __init__(self, a: Network, b: Network):
        self.a, self.b = a, b
        self.setting: Architecture = a.setting
        self.name = f"{a.seed}-{b.seed}"

    @property
    def digests(self) -> list[str]:
        """Sha256 of both networks."""
        return [self.a.digest, self.b.digest]

    def permutation(self, method: str) -> lmc.Permutation:
        """Return the permutation from A to B: a name in ``MATCHERS``, or "none"."""
        symmetry = self.setting.symmetry
        if method == "none":
            return lmc.Permutation.identity(symmetry)
        found = self._matching(method)
        return lmc.Permutation(
            symmetry, {name: found[f"group/{name}"] for name in symmetry.groups}
        )

    def objective(self, method: str) -> float:
        """Return what the matching has maximized."""
        return float(self._matching(method)["objective"])

    def _matching(self, method: str) -> dict[str, Tensor]:
        def measure() -> dict[str, Tensor]:
            found = self.setting.match(method, self.a.state, self.b.state, self.a.seed)
            indices = {f"group/{n}": p for n, p in found.permutation.indices.items()}
            return {"objective": as_values([found.objective]), **indices}

        return self.measured("matching", {"method": method}, measure)

    def matched(self, method: str, found_on: "Pair | None" = None) -> dict[str, Tensor]:
        """Return B, permuted to lie near A.

        Parameters
        ----------
        method
            A name in ``MATCHERS``, or ``"none"``.
        found_on
            Take the permutation that was found on another pair, whose units are the
            same: a pair's parents, for instance.
        """
        indices = (found_on or self).permutation(method).indices
        return lmc.Permutation(self.setting.symmetry, indices).apply(self.b.state)

    def middle(
        self,
        method: str,
        repair: str | Repair = "",
        found_on: "Pair | None" = None,
        goal_of: Network | None = None,
    ) -> Middle:
        """Return the midpoint of A and the matched B, renormalized.

        Parameters
        ----------
        method, found_on
            As in :meth:`matched`.
        repair
            How it is renormalized; by its method's name alone for the usual way.
        goal_of
            Take the goal statistics of another network instead of the endpoints'.
        """
        b = self.matched(method, found_on)
        middle = lmc.interpolate(self.a.state, b, 0.5)
        repair = Repair(repair) if isinstance(repair, str) else repair
        ends = (self.a.state, b) if goal_of is None else (goal_of.state,)
        return repaired(self.setting, middle, ends, repair)

    def midpoint(
        self,
        method: str,
        repair: str | Repair = "",
        found_on: "Pair | None" = None,
        goal_of: Network | None = None,
        split: Split = "test",
    ) -> lmc.Evaluation:
        """Evaluate the midpoint; parameters as for :meth:`middle`."""

        def measure(middle: Middle) -> Measured:
            return {"value": as_values(middle.evaluate(self.setting, split))}

        values = self.at_midpoint(
            "midpoint", measure, method, repair, found_on, goal_of, split=split
        )
        return lmc.Evaluation(*values["value"].tolist())

    def at_midpoint(
        self,
        kind: str,
        measure: Callable[[Middle], Measured],
        method: str,
        repair: str | Repair = "",
        found_on: "Pair | None" = None,
        goal_of: Network | None = None,
        **spec: Any,
    ) -> dict[str, Tensor]:
        """Measure anything at a midpoint, once."""
        how = asdict(Repair(repair) if isinstance(repair, str) else repair)
        full = {
            **spec,
            "method": method,
            "repair": how,
            "found_on": found_on.digests if found_on else None,
            "goal_of": goal_of.digest if goal_of else None,
        }

        @wraps(measure)
        def at_middle() -> Measured:
            return measure(self.middle(method, repair, found_on, goal_of))

        return self.measured(kind, full, at_middle)

    def curve(
        self, method: str, found_on: "Pair | None" = None, homogeneous: bool = False
    ) -> lmc.Curve:
        """Evaluate 11 networks from A to the matched B on the test set."""

        setting = self.setting
        between = lmc.interpolate
        if homogeneous:
            graph = setting.symmetry.graph
            between = partial(lmc.interpolate_homogeneous, graph, joins="longest")

        def measure() -> list[list[float]]:
            # What other claims look at too.  The matched B is B, as a function.
            known = {0.0: self.a.evaluate(), 1.0: self.b.evaluate()}
            if not homogeneous:
                known[0.5] = self.midpoint(method, found_on=found_on)
            ends = (self.a.state, self.matched(method, found_on))
            batches = setting.batches("test")
            points = [
                known.get(lam)
                or lmc.evaluate(setting.model, between(*ends, lam), batches)
                for lam in lmc.LAMBDAS
            ]
            return [[x.loss for x in points], [x.accuracy for x in points]]

        spec = {
            "method": method,
            "homogeneous": homogeneous,
            "found_on": found_on.digests if found_on else None,
        }
        loss, accuracy = self.values("curve", spec, measure)
        return lmc.Curve(lmc.LAMBDAS, tuple(loss), tuple(accuracy))

    def endpoints(self) -> float:
        """Return the mean test accuracy of A and B, in percent."""
        return (self.a.evaluate().accuracy + self.b.evaluate().accuracy) / 2

    def endpoint_loss(self) -> float:
        """Return the mean test loss of A and B, in nats."""
        return (self.a.evaluate().loss + self.b.evaluate().loss) / 2

    def barrier(
        self,
        method: str,
        repair: str | Repair | None = None,
        found_on: "Pair | None" = None,
        goal_of: Network | None = None,
    ) -> float:
        """Return the endpoints' mean accuracy minus the midpoint's, in points.

        The midpoint's value, as in the tables of arXiv 2402.05966; the barrier of
        Definition 2.1 is that of :meth:`curve`.  With repair None the midpoint is
        RESET if there is BatchNorm.
        """
        how = self.setting.reset if repair is None else repair
        middle = self.midpoint(method, how, found_on, goal_of)
        return self.endpoints() - middle.accuracy

    def loss_barrier(self, method: str, found_on: "Pair | None" = None) -> float:
        """Return the midpoint's test loss minus the endpoints' mean, in nats."""
        return self.midpoint(method, "", found_on).loss - self.endpoint_loss()

    def distance(self, method: str, statistics: bool = True) -> float:
        """Return the L2 distance of A and the matched B.

        With BatchNorm's running statistics, or of the parameters alone (the starred
        rows of Table 3 of arXiv 2402.05966).
        """

        def measure() -> list[float]:
            names = None if statistics else self.setting.parameters
            return [lmc.l2_distance(self.a.state, self.matched(method), names)]

        spec = {"method": method, "statistics": statistics}
        [found] = self.values("distance", spec, measure)
        return float(found)

    @cached_property
    def key(self) -> dict[str, Any]:
        """Both seeds and digests."""
        seeds = [self.a.seed, self.b.seed]
        return {"seeds": seeds, "networks": self.digests}


def repaired(
    setting: Architecture, state: State, ends: Sequence[State], repair: Repair
) -> Middle:
    """Renormalize a network of a setting toward the statistics of others.

    Goal statistics are the average over ``ends`` of means and of deviations.
    """
    if not repair.method:
        return Middle(dict(state))
    graph, batches = setting.symmetry.graph, setting.batches("train")
    if repair.samples is not None:
        batches = list(lmc.first_samples(batches, repair.samples))
    if repair.method == "reset":
        if repair.by_batch:
            return Middle(dict(state), lmc.RenormalizationByBatch(graph, "reset").run)
        return Middle(lmc.reset(graph, state, batches))
    layers = {
        "protocol": setting.layers,
        "all": lmc.default_layers(graph),
    }[repair.layers]
    goal = lmc.averaged_statistics(
        [setting.statistics(end, layers, repair.samples) for end in ends]
    )
    if repair.by_batch:
        found = lmc.RenormalizationByBatch(graph, repair.method, goal)
        return Middle(dict(state), found.run)
    affine = lmc.renormalize(
        repair.method,
        graph,
        state,
        goal,
        batches,
        sequential=repair.sequential,
        corrected=repair.corrected,
    )
    if all(graph.layer(name).bias for name in layers):
        return Middle(affine.fuse(state))
    # A layer without bias has no room for a shift: it is applied as the network runs.
    return Middle(dict(state), affine.run)


def accuracy_curves(pairs: Sequence[Pair], *methods: str) -> dict[str, Any]:
    """Return the pairs' test accuracy along their lines, for the report."""
    lines = {m: [pair.curve(m).accuracy for pair in pairs] for m in methods}
    return _along_lines("test accuracy in percent", lines)


def loss_curves(pairs: Sequence[Pair], *methods: str) -> dict[str, Any]:
    """Return the pairs' test loss along their lines, for the report."""
    lines = {m: [pair.curve(m).loss for pair in pairs] for m in methods}
    return _along_lines("test loss in nats", lines)


def lines_between(compared: Mapping[str, Sequence[Pair]]) -> dict[str, Any]:
    """Return the test accuracy along several settings' lines, without permutations."""
    lines = {n: [p.curve("none").accuracy for p in own] for n, own in compared.items()}
    return _along_lines("test accuracy in percent", lines, "network B")


def _along_lines(
    unit: str, lines: Mapping[str, Any], to: str = "the matched B"
) -> dict[str, Any]:
    label = f"λ, from network A to {to}"
    return {"x": lmc.LAMBDAS, "x_label": label, "unit": unit, "lines": lines}
