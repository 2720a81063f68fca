"""Rules of operations that hold a graph of their own."""

from torch.fx import Node

from lmc.axes import Axes
from lmc.rules.calls import Call, apply_rule, rule


@rule("wrap_with_autocast", "wrap_with_set_grad_enabled", names=True)
def _region(call: Call) -> list[Axes]:
    """A part of the model in another mode: a graph of its own."""
    number = next(
        at
        for at, value in enumerate(call.node.args)
        if isinstance(value, Node) and value.op == "get_attr"
    )
    name, *given = call.node.args[number:]
    assert isinstance(name, Node)
    module = getattr(call.node.graph.owning_module, str(name.target))
    inside = iter(given)
    for node in module.graph.nodes:
        if node.op == "placeholder":
            outer = next(inside)
            if isinstance(outer, Node) and outer in call.shapes:
                call.shapes[node] = call.shapes[outer]
        elif node.op == "call_function":
            apply_rule(node, call.shapes)
        elif node.op == "output":
            return [call.shapes[n] for n in node.args[0] if n in call.shapes]
    raise AssertionError("a graph has an output")
