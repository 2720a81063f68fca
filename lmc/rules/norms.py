"""Rules of normalizations and of softmax."""

from lmc.axes import Axes
from lmc.exported import operation_name
from lmc.rules.calls import Call, rule


@rule("batch_norm", "instance_norm")
def _batch_norm(call: Call) -> Axes:
    features = call.axes(0)
    if call.given("training", False) or call.given("use_input_stats", False):
        over = [0, *range(2, len(features.sizes))]
        if operation_name(call.node) == "instance_norm":
            over = over[1:]
        call.algebra.reduce(features, over, keep=True)
    # Scale, shift, running mean and variance of each channel.
    return call.along(features, range(1, 5), [1])


@rule("layer_norm", "rms_norm")
def _layer_norm(call: Call) -> Axes:
    features = call.axes(0)
    rank = len(features.sizes)
    normalized = range(rank - len(call.given(1)), rank)
    call.algebra.reduce(features, normalized, keep=True)
    return call.along(features, [2, 3], normalized)


@rule("group_norm")
def _group_norm(call: Call) -> Axes:
    features = _channelwise(call, 0, 2)
    batch, channels, *pixels = features.sizes
    groups = call.given(1)
    grouped = call.algebra.reshape(
        features, (batch, groups, channels // groups, *pixels)
    )
    call.algebra.reduce(grouped, range(2, len(grouped.sizes)), keep=True)
    return call.along(features, [2, 3], [1])


def _channelwise(call: Call, which: int, first: int) -> Axes:
    """An argument whose axes from ``first`` on are pinned, with the result's sizes."""
    features = call.axes(which)
    rank = len(features.sizes)
    kept = call.ties.pin(features, range(rank)[first:])
    result = Axes(call.sizes, kept.blocks)
    call.ties.see(result)
    return result


@rule("softmax", "log_softmax", "_softmax", "_log_softmax")
def _softmax(call: Call) -> Axes:
    features = call.axes(0)
    call.algebra.reduce(features, [call.dim(1, features)], keep=True)
    return call.aligned([features])
