"""The initialization of a network's weights."""

from __future__ import annotations

from torch import nn

from normlab.errors import InvalidSpec
from normlab.nets.lstm import GATES, GateLinear
from normlab.nets.patches import PatchConv, TokenLinear
from normlab.nets.resnet import Residual
from normlab.norms import ActivationNorm


def initialize(net: nn.Module) -> None:
    """
    Draw the weights of convolutions and linear layers; normalizers keep their own initialization.

    Convolutions, also transposed ones, use He's initialization, N(0, 2 / fan-out). Linear layers
    use N(0, 0.01^2) and biases 0, so that the first predictions are nearly uniform. Layers before
    gates use U(-k, k) with k = 1 / sqrt(width), and biases 0. Blocks of the nets of patches use
    Xavier's initialization for linear layers, N(0, 1 / fan-in) for convolutions, and biases 0.

    Source:
        He et al., "Delving Deep into Rectifiers", arXiv:1502.01852, its backward-propagation case.
        Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
        networks", 2010, for the blocks of transformers, as in Dosovitskiy et al.
    """
    for module in net.modules():
        if isinstance(module, PatchConv):
            nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.ConvTranspose2d):  # torch counts its fans the other way round
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
        elif isinstance(module, GateLinear):
            bound = (GATES / module.out_features) ** 0.5
            nn.init.uniform_(module.weight, -bound, bound)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, TokenLinear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)


def zero_last_scales(net: nn.Module) -> None:
    """
    Set the scale of the last normalizer of every residual branch to 0, so that branches start at 0.

    Raises:
        InvalidSpec: no branch ends with a scale.

    Source:
        Goyal et al., "Accurate, Large Minibatch SGD", arXiv:1706.02677, section 5.1. The authors of
        switchable normalization call it last_gamma in their nets.
    """
    branches = [m.branch for m in net.modules() if isinstance(m, Residual)]
    last = [[m for m in b.modules() if isinstance(m, ActivationNorm)][-1:] for b in branches]
    scales = [norm.weight for norms in last for norm in norms if norm.weight is not None]
    if not scales or len(scales) < len(branches):
        raise InvalidSpec(
            "zero_last_scale: no residual branch of this network ends with a scale; leave it out, "
            "or use a resnet and a normalizer with an affine"
        )
    for scale in scales:
        nn.init.zeros_(scale)
