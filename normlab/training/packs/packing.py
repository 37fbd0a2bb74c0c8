"""One wide network from the networks of a pack's members, layer by layer."""

from __future__ import annotations

import copy
from typing import Any, Callable, Dict, List, NamedTuple, Sequence, Type

from torch import Tensor, nn
from torch.nn.utils import parametrize

from normlab.errors import InvalidSpec
from normlab.nets import stylizer
from normlab.nets.detector import Detector
from normlab.nets.lstm import GateLinear, GateNorm, Lstm
from normlab.nets.patches import Added, ChannelsFirst, ChannelsLast, PatchConv, TokenLinear
from normlab.nets.plain import RandomSite
from normlab.nets.preresnet import PreActivationBlock
from normlab.nets.resnet import PaddedShortcut, Residual
from normlab.nets.sites import MeanPool, PositionLinear, PositionSite, Site
from normlab.nets.stylizer import Stylizer
from normlab.nets.unet import UNet, Up
from normlab.nets.vit import Attention, VisionTransformer
from normlab.norms import ActivationNorm, NormActivation, ProxyNorm, ScaleOnlyNorm
from normlab.norms.filter_response import Thresholded
from normlab.norms.token_norm import TokenNorm
from normlab.norms.weight_lengths import WeightNorm
from normlab.norms.weight_standardization import ScaledWeightStandardization, WeightStandardization
from normlab.training.packs import layers, sequence_layers
from normlab.training.packs.batch_norms import PackedNormActivation
from normlab.training.packs.convolutions import PackedConv2d
from normlab.training.packs.normalizer_rules import NORMALIZERS, NUMBERS_OF_MEMBERS, WEIGHTS
from normlab.training.packs.per_member import PerMember, join

Rule = Callable[[Any, int], bool]
"""Widens the copy of a layer for that many members; returns false without a packed form."""


class _Made(NamedTuple):
    """The packed forms of the members' parameters, so that shared parameters stay shared."""

    joined: Dict[int, nn.Parameter]
    """The tensors, by the identity of the first member's tensor."""
    copied: List[Dict[int, Any]]
    """For each member, the memory of `copy.deepcopy`."""

    def of(self, members: slice) -> _Made:
        """Return the tensors for some of the members."""
        return self._replace(copied=self.copied[members])


def pack(nets: Sequence[nn.Module]) -> nn.Module:
    """
    Make the network with the channels of all *nets*, each computed by itself.

    Raises:
        InvalidSpec: a layer has no packed form, and cannot run member by member either.
    """
    return _widened("", copy.deepcopy(nets[0]), nets, _Made({}, [{} for _ in nets]))


def _widened(path: str, wide: nn.Module, members: Sequence[nn.Module], made: _Made) -> nn.Module:
    """Widen *wide*, a copy of the first layer; neighbours with other options get a layer too."""
    spans = _alike(members)
    if len(spans) == 1:
        return _one_layer(path, wide, members, made)
    layers = [_of_some(path, members[span], made.of(span)) for span in spans]
    return _sharing(members, layers, [span.stop - span.start for span in spans])


def _of_some(path: str, members: Sequence[nn.Module], made: _Made) -> nn.Module:
    if len(members) == 1:
        return copy.deepcopy(members[0], made.copied[0])
    return _one_layer(path, copy.deepcopy(members[0]), members, made)


def _one_layer(path: str, wide: nn.Module, members: Sequence[nn.Module], made: _Made) -> nn.Module:
    kind = parametrize.type_before_parametrizations(wide)
    rule = _RULES.get(kind, _alone if isinstance(wide, ActivationNorm) else None)
    if rule is None:
        raise InvalidSpec(
            f"{path or 'the network'} is a {kind.__name__}, which has no packed form: train its "
            "jobs one by one (pack: off), or use a network of convolutions in sequence such as "
            "'preresnet8' or 'resnet20'"
        )
    if not rule(wide, len(members)):
        return _each_its_own(members, made)
    _join_tensors(wide, members, made.joined)
    _give_numbers(wide, members, NUMBERS_OF_MEMBERS.get(kind, ()))
    for name, child in wide.named_children():
        children = [member.get_submodule(name) for member in members]
        below = f"{path}.{name}" if path else name
        wide._modules[name] = _widened(below, child, children, made)
    if isinstance(wide, _AROUND_A_NORM) and isinstance(wide.norm, PerMember):
        return _each_its_own(members, made)
    return wide


def _each_its_own(members: Sequence[nn.Module], made: _Made) -> nn.Module:
    layers = [copy.deepcopy(m, memo) for m, memo in zip(members, made.copied)]
    return _sharing(members, layers, [1] * len(layers))


def _sharing(
    members: Sequence[nn.Module], layers: Sequence[nn.Module], sizes: Sequence[int]
) -> nn.Module:
    return PerMember(layers, sizes, -1 if isinstance(members[0], _CHANNELS_LAST) else 1)


def _join_tensors(
    wide: nn.Module, members: Sequence[nn.Module], joined: Dict[int, nn.Parameter]
) -> None:
    for name, parameter in list(wide._parameters.items()):
        if parameter is not None:
            own: List[Any] = [member._parameters[name] for member in members]
            if id(own[0]) not in joined:  # layers may share a parameter
                joined[id(own[0])] = nn.Parameter(join([each.detach() for each in own]))
            wide._parameters[name] = joined[id(own[0])]
    for name, buffer in list(wide._buffers.items()):
        if buffer is not None:
            wide._buffers[name] = join([member._buffers[name] for member in members])  # type: ignore[misc]


def _give_numbers(wide: nn.Module, members: Sequence[nn.Module], names: Sequence[str]) -> None:
    for name in names:
        values = [getattr(member, name) for member in members]
        if len(set(values)) > 1:  # one number has the faster kernels
            like = next(wide.buffers())
            delattr(wide, name)  # a buffer goes to any device with its layer
            wide.register_buffer(name, like.new_tensor(values), persistent=False)


def _alike(members: Sequence[nn.Module]) -> List[slice]:
    """Return the neighbours that differ only in tensors and in numbers that may differ."""
    options = [_options(member) for member in members]
    starts = [i for i in range(len(members)) if i == 0 or options[i] != options[i - 1]]
    return [slice(*span) for span in zip(starts, [*starts[1:], len(members)])]


def _options(module: nn.Module) -> List[Dict[str, Any]]:
    of_weights = getattr(module, "parametrizations", None)  # these belong to their filter
    parts = [module, *(of_weights.modules() if isinstance(of_weights, nn.Module) else ())]
    found = [
        {k: v for k, v in vars(part).items() if k[0] != "_" and not isinstance(v, Tensor)}
        for part in parts
    ]
    own = NUMBERS_OF_MEMBERS.get(parametrize.type_before_parametrizations(module), ())
    found[0].update({name: getattr(module, name) is None for name in own})
    return [*found, *(_options(module.norm) if isinstance(module, _AROUND_A_NORM) else ())]


def _as_it_is(wide: Any, members: int) -> bool:
    return True  # it computes each channel by itself, or only calls its parts


def _alone(wide: Any, members: int) -> bool:
    return False


def _site(wide: Site, members: int) -> bool:
    wide.channels *= members
    return True


def _tokens(wide: TokenNorm, members: int) -> bool:
    wide.num_features *= members
    return True


def _filters(wide: Any, members: int) -> bool:
    wide.in_channels *= members
    wide.out_channels *= members
    wide.groups *= members
    return True


def _convolution(wide: nn.Conv2d, members: int) -> bool:
    of_all = wide.groups == 1 and wide.padding_mode == "zeros" and isinstance(wide.padding, tuple)
    if of_all and not parametrize.is_parametrized(wide):
        _becomes(PackedConv2d)(wide, members)
    return _filters(wide, members)


def _transposed(wide: Any, members: int) -> bool:
    # a normalization of its weights is over the second dimension, which is not joined
    return not parametrize.is_parametrized(wide) and _filters(wide, members)


def _becomes(packed: Type[nn.Module]) -> Rule:
    def change(wide: Any, members: int) -> bool:
        if parametrize.is_parametrized(wide):
            return False
        wide.__class__ = packed
        wide.members = members
        return True

    return change


_CHANNELS_LAST = (TokenLinear,)
_AROUND_A_NORM = (ProxyNorm, Thresholded)  # these use more of it than the normalization
_TRANSPARENT = (
    nn.Sequential,
    nn.ModuleList,
    nn.ModuleDict,
    nn.Identity,
    nn.ReLU,
    nn.SiLU,
    nn.GELU,
    nn.MaxPool2d,
    MeanPool,
    ScaleOnlyNorm,
    ProxyNorm,
    Thresholded,
    Residual,
    PreActivationBlock,
    UNet,
    Stylizer,
    stylizer.Block,
    Added,
    ChannelsFirst,
    ChannelsLast,
    GateNorm,
    parametrize.ParametrizationList,
    WeightNorm,
    WeightStandardization,
    ScaledWeightStandardization,
)
_RULES: Dict[Type[nn.Module], Rule] = {
    **dict.fromkeys(_TRANSPARENT, _as_it_is),
    **NORMALIZERS,
    **WEIGHTS,
    Site: _site,
    RandomSite: _site,
    PositionSite: _site,
    TokenNorm: _tokens,
    NormActivation: _becomes(PackedNormActivation),
    nn.Conv2d: _convolution,
    PatchConv: _filters,
    nn.ConvTranspose2d: _transposed,
    nn.Linear: _becomes(layers.PackedLinear),
    PositionLinear: _becomes(layers.PackedPositionLinear),
    PaddedShortcut: _becomes(layers.PackedShortcut),
    Up: _becomes(layers.PackedUp),
    Detector: _becomes(layers.PackedDetector),
    TokenLinear: _becomes(sequence_layers.PackedTokenLinear),
    GateLinear: _becomes(sequence_layers.PackedGateLinear),
    Attention: _becomes(sequence_layers.PackedAttention),
    VisionTransformer: _becomes(sequence_layers.PackedVisionTransformer),
    Lstm: _becomes(sequence_layers.PackedLstm),
}
