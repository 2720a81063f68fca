"""Small networks of the papers, as plain ``torch.nn`` modules."""

from lmc.models.fixup import FixupResNet
from lmc.models.linear import LinearNet
from lmc.models.locally_connected import LocallyConnected2d, LocalNet
from lmc.models.mlp import MLP
from lmc.models.resnet import ResNet
from lmc.models.vgg import VGG

__all__ = [
    "MLP",
    "VGG",
    "FixupResNet",
    "LinearNet",
    "LocalNet",
    "LocallyConnected2d",
    "ResNet",
]
