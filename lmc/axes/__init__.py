"""The algebra of tensor axes: where the units are in the values of a graph.

The axes of a tensor are described by *blocks*: an array of units over some of its
axes.  A plain layer's output has one block over its channel axis; queries have one
over heads and channels together.  Axes in no block are *rigid*: their positions are
told apart.  Along *even* axes all values are equal.

An operation moves the units or combines them (:mod:`lmc.axes.algebra`), and says on the
way which are tied and which are pinned (:mod:`lmc.axes.ties`); to parameters that it is
the first to use it may give finer units (:mod:`lmc.axes.refining`).
``lmc/docs/algebra.md`` works through examples.
"""

from lmc.axes.algebra import Algebra
from lmc.axes.blocks import Axes, Block, constant, fresh
from lmc.axes.ties import Ties

__all__ = ["Algebra", "Axes", "Block", "Ties", "constant", "fresh"]
