"""Rules of linear layers, matrix products and attention."""

import numpy as np

from lmc.axes import Axes
from lmc.rules.calls import Call, Refused, rule


@rule("linear")
def _linear(call: Call) -> Axes:
    inputs = call.axes(0)
    batch = range(len(inputs.sizes) - 1)
    rows, columns = -1, -2
    operands = [(inputs, [*batch, columns]), (call.axes(1), [rows, columns])]
    if call.has(2):
        operands.append((call.axes(2), [rows]))
    return call.algebra.combine(operands, [*batch, rows], call.sizes)


@rule("matmul", "bmm", "mm", "mv", "dot")
def _matmul(call: Call) -> Axes:
    return _product(call, call.axes(0), call.axes(1), call.sizes)


@rule("addmm", "baddbmm")
def _addmm(call: Call) -> Axes:
    product = _product(call, call.axes(1), call.axes(2), call.sizes)
    return call.aligned([product, call.axes(0)])


@rule("einsum")
def _einsum(call: Call) -> Axes:
    equation = call.given(0).replace(" ", "")
    operands, arrow, out = equation.partition("->")
    terms = operands.split(",")
    if not arrow:
        letters = sorted(set(operands) - {","})
        out = "".join(letter for letter in letters if operands.count(letter) == 1)
    if "." in equation or any(len(set(term)) < len(term) for term in terms):
        raise Refused("no rule for ellipses and diagonals in")
    tensors = [call.shapes[tensor] for tensor in call.given(1)]
    return call.algebra.combine(
        [(axes, [*map(ord, term)]) for axes, term in zip(tensors, terms, strict=True)],
        [*map(ord, out)],
        call.sizes,
        product=True,
    )


@rule("scaled_dot_product_attention")
def _attention(call: Call) -> Axes:
    query, key, value = (call.axes(which) for which in range(3))
    *batch, length, _ = query.sizes
    if call.given("enable_gqa", False):  # several query heads for each key and value
        heads = len(batch) - 1
        key, value = (
            call.algebra.take(axes, heads, np.arange(batch[-1]) * size // batch[-1])
            for axes in (key, value)
            for size in axes.sizes[heads : heads + 1]
        )
    logits = (*batch, length, key.sizes[-2])
    rank = len(logits)
    turned = call.algebra.permute(key, [*range(rank - 2), rank - 1, rank - 2])
    weights = _product(call, query, turned, logits)
    if call.has("attn_mask"):
        mask = call.axes("attn_mask")
        weights = call.algebra.combine(
            [(weights, range(rank)), (mask, range(rank - len(mask.sizes), rank))],
            range(rank),
            logits,
        )
    weights = call.algebra.combine([(weights, range(rank))], range(rank), logits)
    return _product(call, weights, value, call.sizes)


def _product(call: Call, left: Axes, right: Axes, sizes: tuple[int, ...]) -> Axes:
    """Matrix product of the last two axes, with broadcasting over those before."""
    rows, inner, columns = -1, -2, -3
    batch = max(len(left.sizes), len(right.sizes), 2) - 2
    terms = []
    for axes, ends in ((left, [rows, inner]), (right, [inner, columns])):
        if len(axes.sizes) == 1:
            ends = [inner]
        own = len(axes.sizes) - len(ends)
        terms.append((axes, [*range(batch - own, batch), *ends]))
    ends = [rows] * (len(left.sizes) > 1) + [columns] * (len(right.sizes) > 1)
    return call.algebra.combine(terms, [*range(batch), *ends], sizes, product=True)
