"""Learning rates that fall from the head of a network towards its input."""

from __future__ import annotations

from typing import Dict, Iterator, List, Optional

from torch import nn

_CONTAINERS = (nn.Sequential, nn.ModuleList)


def layer_factors(model: nn.Module, decay: Optional[float]) -> Dict[nn.Parameter, float]:
    """
    Return decay^(blocks after its own) for each parameter of *model*; empty if *decay* is None.

    A block is a part of the network, in the order of its definition, that is no mere sequence of
    parts: a residual block with all that is in it, a convolution outside of blocks, the head. A
    normalizer belongs to the block before it, since it follows that block's convolution.

    Source:
        Clark et al., "ELECTRA", arXiv:2003.10555, section 3.1 have the rates fall from layer to
        layer; Bao et al., "BEiT", arXiv:2106.08254, from block to block.
    """
    if decay is None:
        return {}
    blocks = [block for block in _blocks(model) if block]
    return {
        parameter: decay ** (len(blocks) - 1 - i)
        for i, block in enumerate(blocks)
        for parameter in block
    }


def _blocks(model: nn.Module) -> List[List[nn.Parameter]]:
    found: List[List[nn.Parameter]] = [list(model.parameters(recurse=False))]
    for part in _parts(model):
        parameters = list(part.parameters())
        if found[-1] and not any(p.dim() > 1 for p in parameters):
            found[-1] += parameters
        else:
            found.append(parameters)
    return found


def _parts(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if isinstance(child, _CONTAINERS):
            yield from _parts(child)
        else:
            yield child
