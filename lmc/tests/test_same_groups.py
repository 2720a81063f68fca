"""Groups of the suite's architectures: their names, order, sizes, blocks and sites.

Permutations on file are by these names, and the random order in which groups are
matched depends on theirs: both hold for as long as this file does.
"""

import hashlib

import pytest
import torch

from lmc.discovery import discover
from lmc.models import MLP, VGG, FixupResNet, LinearNet, LocalNet, ResNet

PLAN = (4, "M", 6, 6)
IMAGES = torch.zeros(2, 1, 8, 8)

MODELS = {
    "mlp": lambda: MLP((64, 5, 4, 3)),
    "mlp without biases": lambda: MLP((64, 5, 4, 3), bias=False),
    "linear": lambda: LinearNet(depth=3, width=4),
    "linear residual": lambda: LinearNet(depth=3, width=4, residual=True),
    "vgg plain": lambda: VGG(PLAN),
    "vgg bn": lambda: VGG(PLAN, norm="bn"),
    "vgg ln": lambda: VGG(PLAN, norm="ln"),
    "resnet plain": lambda: ResNet((4, 6), (1, 1)),
    "resnet bn": lambda: ResNet((4, 6), blocks=(2, 1), norm="bn"),
    "resnet ln": lambda: ResNet((4, 6), (1, 1), norm="ln", bias=False),
    "fixup": lambda: FixupResNet((4, 6), (1, 1)),
    "local shared": lambda: LocalNet((8, 8), channels=3, shared=True),
    "local strided": lambda: LocalNet((8, 8), channels=2, kernel=2, stride=2),
}

GROUPS = {
    "mlp": [("1", 5, None, 1, "9eceaa7e94"), ("3", 4, None, 1, "8dc1d77372")],
    "mlp without biases": [
        ("1", 5, None, 1, "2edbd7a454"),
        ("3", 4, None, 1, "29657e048e"),
    ],
    "linear": [
        ("first", 4, None, 1, "b949a96d72"),
        ("hidden.0", 4, None, 1, "f49dd46a72"),
    ],
    "linear residual": [("first", 4, None, 1, "4802861d1b")],
    "vgg plain": [
        ("features.0", 4, None, 1, "dede896278"),
        ("features.4", 6, None, 1, "90120bec8c"),
        ("features.7", 6, None, 1, "795634fe39"),
    ],
    "vgg bn": [
        ("features.0", 4, None, 1, "4f95e8c944"),
        ("features.4", 6, None, 1, "d75fbfca67"),
        ("features.7", 6, None, 1, "7a86a78ae9"),
    ],
    "vgg ln": [
        ("features.0", 4, None, 1, "4834f2a771"),
        ("features.4", 6, None, 1, "f80014474f"),
        ("features.7", 6, None, 1, "748baf36cc"),
    ],
    "resnet plain": [
        ("stem", 4, None, 1, "7e0cabae58"),
        ("blocks.0.conv1", 4, None, 1, "1a6fda7d7e"),
        ("blocks.1.conv1", 6, None, 1, "a75ccecd8d"),
        ("blocks.1.conv2", 6, None, 1, "bbdeba55a6"),
    ],
    "resnet bn": [
        ("stem", 4, None, 1, "dd2ea4f3f6"),
        ("blocks.0.conv1", 4, None, 1, "1aadb2c877"),
        ("blocks.1.conv1", 4, None, 1, "fb6e7bee5c"),
        ("blocks.2.conv1", 6, None, 1, "79116d1f65"),
        ("blocks.2.conv2", 6, None, 1, "0eec3f1a83"),
    ],
    "resnet ln": [
        ("stem", 4, None, 1, "a053607e5a"),
        ("blocks.0.conv1", 4, None, 1, "9d99d9bb13"),
        ("blocks.1.conv1", 6, None, 1, "5e12594807"),
        ("blocks.1.conv2", 6, None, 1, "910fa76a7d"),
    ],
    "fixup": [
        ("stem", 4, None, 1, "06285ef88a"),
        ("blocks.0.conv1", 4, None, 1, "a1f6997323"),
        ("blocks.1.conv1", 6, None, 1, "6636979928"),
        ("blocks.1.conv2", 6, None, 1, "d14cfef764"),
    ],
    "local shared": [("hidden", 3, None, 1, "761db03bc7")],
    "local strided": [
        ("hidden", 2, None, 1, "dfb7727a68"),
        ("hidden#2", 2, None, 1, "e9bfda7367"),
        ("hidden#3", 2, None, 1, "456fb55d1b"),
        ("hidden#4", 2, None, 1, "8740f303e7"),
        ("hidden#5", 2, None, 1, "1ea3af54e8"),
        ("hidden#6", 2, None, 1, "412b6956f2"),
        ("hidden#7", 2, None, 1, "4cbf485992"),
        ("hidden#8", 2, None, 1, "78b7709159"),
        ("hidden#9", 2, None, 1, "4797d6ce52"),
        ("hidden#10", 2, None, 1, "8ad3ef1c9f"),
        ("hidden#11", 2, None, 1, "2e76e68e26"),
        ("hidden#12", 2, None, 1, "4ba621da81"),
        ("hidden#13", 2, None, 1, "da16a668e5"),
        ("hidden#14", 2, None, 1, "1a71b8bbca"),
        ("hidden#15", 2, None, 1, "bbf36fe714"),
        ("hidden#16", 2, None, 1, "c396166564"),
    ],
}


def described(symmetry):
    """What permutations on file rest on, in order."""
    return [
        (group.name, group.size, group.parent, group.copies, _digest(group))
        for group in symmetry.groups.values()
    ]


def _digest(group):
    """Ten digits that stand for all sites and activations of a group."""
    sites = [(s.name, s.axes, s.positions.tolist()) for s in group.sites]
    outputs = [(a.node, a.axes, a.positions.tolist()) for a in group.activations]
    return hashlib.sha256(repr((sites, outputs)).encode()).hexdigest()[:10]


@pytest.mark.parametrize("name", MODELS)
def test_groups_are_those_on_file(name):
    """Every name, size, site and activation, in the order on file."""
    assert described(discover(MODELS[name]().eval(), IMAGES)) == GROUPS[name]
