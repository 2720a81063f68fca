"""Rules of recurrent layers."""

from collections.abc import Sequence

import numpy as np
from torch.fx import Node
from torch.utils import _pytree as pytree

from lmc.axes import Axes, Block
from lmc.exported import operation_name
from lmc.rules.calls import Call, Refused, rule


@rule("lstm", "gru", "rnn_tanh", "rnn_relu")
def _recurrent(call: Call) -> list[Axes]:
    gates = {"lstm": 4, "gru": 3}.get(operation_name(call.node), 1)
    if isinstance(call.given("has_biases"), Node):
        raise Refused("packed sequences in")
    algebra = call.algebra
    features = call.ties.pin(call.axes(0), [0, 1])  # samples and times
    starts = [call.shapes[n] for n in pytree.tree_leaves(call.given(1))]
    parameters = [call.shapes[node] for node in call.given(2)]
    directions = 2 if call.given("bidirectional") else 1
    each = 4 if call.given("has_biases") else 2
    if len(parameters) != each * directions * call.given("num_layers"):
        raise Refused("no rule for projections in")
    states = []
    for layer in range(call.given("num_layers")):
        outputs = []
        for number in range(directions * layer, directions * (layer + 1)):
            inner, outer, *biases = parameters[each * number : each * (number + 1)]
            given = _gated_sums(call, gates, features, inner, biases[:1])
            state = algebra.combine(
                [(g, range(3)) for g in given], range(3), given[0].sizes
            )
            again = _gated_sums(call, gates, state, outer, biases[1:])
            terms = [(axes, [0, 1, 2]) for axes in (*given, *again)]
            for start in starts:
                terms.append((algebra.take(start, 0, np.array([number])), [3, 4, 2]))
            outputs.append(algebra.combine(terms, range(3), given[0].sizes))
        states += outputs
        features = algebra.cat(outputs, 2)
    # The last states: other units for each layer and direction.
    units, places = (
        np.stack([getattr(block, which) for s in states for block in s.over(2)])
        for which in ("units", "places")
    )
    last = Axes(call.each[1], (Block((0, 2), units, places),))
    return [features, *[last] * len(starts)]


def _gated_sums(
    call: Call, gates: int, features: Axes, weight: Axes, bias: Sequence[Axes]
) -> list[Axes]:
    """Inner products with each gate's rows of a weight, gate by gate."""
    algebra, rows = call.algebra, weight.sizes[0]
    operands: list[tuple[Axes, Sequence[int]]] = [
        (features, [0, 1, 3]),
        (weight, [2, 3]),
    ]
    operands += [(axes, [2]) for axes in bias]
    times = features.sizes[:2]
    sums = algebra.combine(operands, [0, 1, 2], (*times, rows))
    split = algebra.reshape(sums, (*times, gates, rows // gates))
    return [
        algebra.reshape(algebra.take(split, 2, np.array([g])), (*times, rows // gates))
        for g in range(gates)
    ]
