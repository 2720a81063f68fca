"""What each ATen operation says about the axes of its arguments and its result.

To add an operation, add a function under ``@rule("its ATen name")`` to the file of its
subject.  An operation without a rule pins every unit that it touches
(:func:`apply_rule`), which is always sound.  ``lmc/docs/algebra.md`` works through what
rules are made of.
"""

from lmc.rules import (  # noqa: F401  they register their rules
    convolutions,
    indexing,
    moves,
    norms,
    pointwise,
    products,
    recurrent,
    reductions,
    regions,
)
from lmc.rules.calls import TooFew, apply_rule
from lmc.rules.shapes import Shapes

__all__ = ["Shapes", "TooFew", "apply_rule"]
