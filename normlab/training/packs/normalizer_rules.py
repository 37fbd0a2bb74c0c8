"""How a member's normalizer becomes that of a pack; other kinds run one member after the other."""

from __future__ import annotations

from typing import Any, Callable, Dict, Sequence, Type

from torch import nn

from normlab.norms.batch import BatchNorm
from normlab.norms.batch_renorm import BatchRenorm
from normlab.norms.dynamic_tanh import DynamicTanh
from normlab.norms.evonorm import EvoNormS0, ScaleAndShift
from normlab.norms.filter_response import FilterResponseNorm
from normlab.norms.lp_batch import L1BatchNorm, LinfBatchNorm, TopkBatchNorm
from normlab.norms.mean_square import RMSNorm
from normlab.norms.meta import MetaNorm
from normlab.norms.online import OnlineNorm
from normlab.norms.per_sample import GroupNorm, InstanceNorm, LayerNorm
from normlab.norms.switchable import SwitchableNorm
from normlab.norms.weight_lengths import BoundedTotalWeightNorm, BoundedWeightNorm
from normlab.training.packs import mixtures, normalizers
from normlab.training.packs.batch_norms import PackedBatchNorm

Rule = Callable[[Any, int], bool]


def _wider(wide: Any, members: int) -> bool:
    wide.num_features *= members
    wide.members = members
    return True


def _by_channel(packed: Type[nn.Module]) -> Rule:
    def change(wide: Any, members: int) -> bool:
        wide.__class__ = packed
        return _wider(wide, members)

    return change


def _more_groups(wide: Any, members: int) -> bool:
    wide.groups *= members
    return _wider(wide, members)


def _group(wide: GroupNorm, members: int) -> bool:
    if wide.grouping != "contiguous":  # strided groups reach over all channels
        return False
    wide.num_groups *= members
    return _more_groups(wide, members)


def _switchable(wide: SwitchableNorm, members: int) -> bool:
    if wide.running == "average":
        return False
    return _by_channel(mixtures.PackedSwitchableNorm)(wide, members)


def _meta(wide: MetaNorm, members: int) -> bool:
    if wide.num_features == 1:
        return False
    if wide.channels == "all":  # all of a member
        wide.channels, wide.groups = "groups", 1
    wide.groups *= members
    return _by_channel(mixtures.PackedMetaNorm)(wide, members)


def _of_weights(packed: Type[nn.Module]) -> Rule:
    def change(wide: Any, members: int) -> bool:
        wide.__class__ = packed
        wide.members = members
        return True

    return change


NORMALIZERS: Dict[Type[nn.Module], Rule] = {
    BatchNorm: _by_channel(PackedBatchNorm),
    BatchRenorm: _by_channel(normalizers.PackedBatchRenorm),
    L1BatchNorm: _by_channel(normalizers.PackedL1BatchNorm),
    LinfBatchNorm: _by_channel(normalizers.PackedLinfBatchNorm),
    TopkBatchNorm: _by_channel(normalizers.PackedTopkBatchNorm),
    OnlineNorm: _by_channel(normalizers.PackedOnlineNorm),
    DynamicTanh: _by_channel(normalizers.PackedDynamicTanh),
    FilterResponseNorm: _by_channel(normalizers.PackedFilterResponseNorm),
    GroupNorm: _group,
    LayerNorm: _group,
    InstanceNorm: _group,
    RMSNorm: _more_groups,
    EvoNormS0: _more_groups,
    ScaleAndShift: _wider,
    SwitchableNorm: _switchable,
    MetaNorm: _meta,
}
WEIGHTS: Dict[Type[nn.Module], Rule] = {
    BoundedWeightNorm: _of_weights(normalizers.PackedBoundedWeightNorm),
    BoundedTotalWeightNorm: _of_weights(normalizers.PackedBoundedTotalWeightNorm),
}
# Numbers that may differ between members in one layer; `specs.packs` knows these kinds too.
NUMBERS_OF_MEMBERS: Dict[Type[nn.Module], Sequence[str]] = dict.fromkeys(
    (BatchNorm, BatchRenorm, L1BatchNorm, LinfBatchNorm, TopkBatchNorm, MetaNorm), ("momentum",)
)
