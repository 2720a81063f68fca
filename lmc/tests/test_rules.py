"""Operations one by one, each in a small model whose groups are known by hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmc.discovery import discover
from lmc.tests.networks import randomized

VECTORS = torch.arange(6.0).reshape(2, 3) / 6
SEQUENCES = torch.arange(24.0).reshape(2, 4, 3).sin()
IMAGES = torch.arange(1536.0).reshape(2, 3, 16, 16).sin()
SMALL = torch.arange(96.0).reshape(2, 3, 4, 4).sin()


class Layers(nn.Module):
    """Six hidden units, and two logits."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(3, 6), nn.Linear(6, 2)


class Convolution(nn.Module):
    """Six channels, and two logits from their means over pixels."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 6, 1), nn.Linear(6, 2)

    def between(self, y: Tensor) -> Tensor:
        """What is done to the channels."""
        return y

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.between(self.first(x).relu()).mean((2, 3)))


class EmptySlice(Layers):
    def forward(self, x):
        y = self.first(x).relu()
        return self.last(torch.cat([y[..., :6], y[..., 6:]], -1))


class Standardized(nn.Module):
    """Each filter is standardized before it is used, as in BiT and NFNet."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 8, 3)
        self.last = nn.Linear(8, 2)

    def forward(self, x):
        for layer in (self.first, self.second):
            rows = layer.weight.reshape(1, layer.out_channels, -1)
            rows = F.batch_norm(rows, None, None, training=True, momentum=0.0)
            x = F.conv2d(x, rows.reshape_as(layer.weight), layer.bias).relu()
        return self.last(x.mean((2, 3)))


class UnitsAsPixels(Layers):
    """A convolution of kernel 1 treats all positions alike, here the units."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Conv1d(2, 1, 1)

    def forward(self, x):
        y = self.first(x).relu()
        return self.last(self.mix(torch.stack([y, y.sigmoid()], 1)).squeeze(1))


class Resized(nn.Module):
    """Embeddings of patches, resized as models for images of any size do."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 6, 4, 4)
        self.positions = nn.Parameter(torch.zeros(1, 6, 3, 3))
        self.last = nn.Linear(6, 2)

    def forward(self, x):
        positions = F.interpolate(
            self.positions, size=(4, 4), mode="bicubic", antialias=True
        )
        return self.last((self.patches(x) + positions).relu().mean((2, 3)))


class SameDtype(Layers):
    """The dtype of one tensor is that of another with other units."""

    def __init__(self):
        super().__init__()
        self.second, self.other = nn.Linear(3, 6), nn.Linear(6, 2)

    def forward(self, x):
        a, b = self.first(x).relu(), self.second(x).relu()
        return self.last(a.type_as(b)) + self.other(b)


class LastToken(Layers):
    """One token of each sample, chosen by the inputs."""

    def forward(self, x):
        at = x[..., 0].argmax(-1)
        return self.last(self.first(x).relu()[torch.arange(len(x)), at])


class Recurrent(Layers):
    def __init__(self, kind, **options):
        super().__init__()
        self.cells = getattr(nn, kind)(6, 5, batch_first=True, **options)
        width = 10 if options.get("bidirectional") else 5
        self.last = nn.Linear(width, 2)

    def forward(self, x):
        return self.last(self.cells(self.first(x).relu())[0].mean(1))


class Folded(Convolution):
    def between(self, y):
        return F.fold(F.unfold(y, 2, stride=2), (4, 4), 2, stride=2)


class RepeatedSamples(Layers):
    def forward(self, x):
        return self.last(self.first(x).relu().repeat_interleave(2, 0)[::2])


class RepeatedUnits(Layers):
    """Each unit twice: the two columns behind it may change places."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(12, 2)

    def forward(self, x):
        return self.last(self.first(x).relu().repeat(1, 2))


class OtherPrecision(Layers):
    def forward(self, x):
        y = self.first(x)
        with torch.autocast("cpu", enabled=False):
            y = y.float().relu()
        return self.last(y)


class WithoutGradient(Layers):
    def forward(self, x):
        y = self.first(x)
        with torch.no_grad():
            mean = y.mean(1, keepdim=True)
        return self.last((y - mean).relu())


class Blurred(Convolution):
    """One constant filter for all channels."""

    def __init__(self):
        super().__init__()
        self.register_buffer("filter", torch.ones(6, 1, 3, 3) / 9, persistent=False)

    def between(self, y):
        return F.conv2d(y, self.filter, groups=6, stride=2)


class BlurredUnevenly(Blurred):
    """Another filter for each channel tells them apart."""

    def __init__(self):
        super().__init__()
        self.filter = self.filter * torch.arange(1.0, 7.0)[:, None, None, None]


class WrittenInto(Layers):
    """Zeros into which a one is written tell their positions apart."""

    def forward(self, x):
        mask = torch.zeros(6)
        mask[2] = 1.0
        return self.last(self.first(x).relu() + mask)


class Thresholded(Layers):
    """Only the two largest units of a sample are let through."""

    def forward(self, x):
        y = self.first(x)
        least = y.topk(2, -1).values[..., -1:]
        return self.last(torch.where(y >= least, y, torch.zeros_like(y)))


class Listed(Layers):
    """A list of positions is known, as a slice is: two units go their own way."""

    def __init__(self):
        super().__init__()
        self.last, self.other = nn.Linear(4, 2), nn.Linear(2, 2)

    def forward(self, x):
        y = self.first(x).relu()
        return self.last(y[..., [0, 1, 2, 5]]) + self.other(y[..., [-3, 4]])


class Zeros(Layers):
    """A tensor of equal values has no order that units could keep to."""

    def forward(self, x):
        return self.last(torch.maximum(self.first(x), torch.zeros(6)))


CASES = {
    EmptySlice: (VECTORS, {"first": (6, 1)}),
    Standardized: (IMAGES, {"first": (6, 1), "second": (8, 1)}),
    UnitsAsPixels: (VECTORS, {"first": (6, 1)}),
    Resized: (IMAGES, {"patches": (6, 1)}),
    SameDtype: (VECTORS, {"first": (6, 1), "second": (6, 1)}),
    LastToken: (SEQUENCES, {"first": (6, 1)}),
    Folded: (SMALL, {"first": (6, 1)}),
    RepeatedSamples: (VECTORS, {"first": (6, 1)}),
    RepeatedUnits: (VECTORS, {"first": (6, 1), "last": (2, 6)}),
    OtherPrecision: (VECTORS, {"first": (6, 1)}),
    WithoutGradient: (VECTORS, {"first": (6, 1)}),
    Blurred: (IMAGES, {"first": (6, 1)}),
    BlurredUnevenly: (IMAGES, {}),
    WrittenInto: (VECTORS, {}),
    Thresholded: (VECTORS, {"first": (6, 1)}),
    Listed: (VECTORS, {"first": (4, 1), "first#2": (2, 1)}),
    Zeros: (VECTORS, {"first": (6, 1)}),
}


def counted(symmetry):
    """Size and number of copies of each group."""
    return {name: (g.size, g.copies) for name, g in symmetry.groups.items()}


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_units_are_free_behind_an_operation(make):
    """All units that are free by hand, certified, and nothing refused."""
    inputs, groups = CASES[make]
    symmetry = discover(randomized(make()), inputs)
    assert counted(symmetry) == groups
    assert symmetry.refused == ()
    assert symmetry.certificate.relative_difference <= 1e-9


@pytest.mark.parametrize(
    ("kind", "options", "hidden"),
    [
        ("LSTM", {}, [5]),
        ("GRU", {"bias": False}, [5]),
        ("RNN", {"num_layers": 2}, [5, 5]),
        ("LSTM", {"bidirectional": True}, [5, 5]),
    ],
)
def test_recurrent_units_move_with_all_their_gates(kind, options, hidden):
    """The units before, and the state's, with the rows of every gate."""
    model = randomized(Recurrent(kind, **options))
    symmetry = discover(model, SEQUENCES)
    assert sorted(group.size for group in symmetry.groups.values()) == [*hidden, 6]
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind]
    (own,) = (
        group
        for group in symmetry.groups.values()
        if any(site.name == "cells.weight_hh_l0" for site in group.sites)
    )
    rows = {(s.name, s.axes): s.positions.shape[1] for s in own.sites}
    assert rows["cells.weight_hh_l0", (0,)] == gates
    assert rows["cells.weight_hh_l0", (1,)] == 1
    assert symmetry.refused == ()


class Masked(Layers):
    """A mask over tokens, made as language models do: of positions alone."""

    def forward(self, x):
        positions = torch.arange(x.shape[1])
        spans = torch.cat([positions.new_zeros(1), positions.diff()]).cumsum(0)
        mask = (positions[:, None] >= positions) & (
            spans[:, None] == spans.cummax(0)[0]
        )
        y = self.first(x).relu()
        return self.last((mask.float() @ y).mean(1))


def test_masks_pin_nothing():
    """Operations on positions alone need no rule, and are not refused."""
    symmetry = discover(randomized(Masked()), SEQUENCES)
    assert counted(symmetry) == {"first": (6, 1)}
    assert symmetry.refused == ()
