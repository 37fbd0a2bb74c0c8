"""Layer, instance and group normalization: moments of one sample, without state or batch."""

from __future__ import annotations

from typing import Any, Optional, cast

import torch.nn.functional as F
from torch import Tensor

from normlab.errors import InvalidSpec
from normlab.norms import engine, engine_fused, passes
from normlab.norms.activation_norm import ActivationNorm
from normlab.norms.batch import affine_after
from normlab.norms.engine import Solved
from normlab.norms.passes import positions
from normlab.norms.pooling import pool
from normlab.norms.solve_forms import Pool, make_form
from normlab.specs.norms_over_samples import GroupNormSpec, InstanceNormSpec, LayerNormSpec

_LAYER_NORM = LayerNormSpec()
_INSTANCE_NORM = InstanceNormSpec()
_GROUP_NORM = GroupNormSpec()


class GroupNorm(ActivationNorm):
    """
    Normalize each group of channels of each sample.

    y = weight * (x - M) / sqrt(V + eps) + bias, with M and V over (c in group, p). Training and
    evaluation compute the same. State dicts are those of torch.nn.GroupNorm.

    Args:
        num_features: C, the number of channels.
        groups: the number of groups, which must divide C.
        grouping: "contiguous" puts channel c into group c // (C / groups), like torch;
            "strided" puts it into group c mod groups, like IPU code.
        eps: added to the variance.
        affine: learn weight and bias, one of each per channel.
        dims: 1, 2 or 3 dimensions of positions.

    Shape:
        (N, C, positions...) -> the same, dtype kept.

    Raises:
        InvalidSpec: *groups* does not divide C, or a group has only one value.

    Source:
        Wu and He, "Group Normalization", 2018, arXiv:1803.08494, equations 1, 2, 6 and 7.
    """

    on_engine = evaluates_on_engine = True

    def __init__(
        self,
        num_features: int,
        groups: int = _GROUP_NORM.groups,
        grouping: str = _GROUP_NORM.grouping,
        eps: float = _GROUP_NORM.eps,
        affine: bool = _GROUP_NORM.affine,
        dims: int = 2,
    ) -> None:
        super().__init__(num_features, eps, affine, dims)
        GroupNormSpec.checked(num_features, groups=groups, grouping=grouping)
        self.groups = groups
        self.grouping = grouping
        self.num_groups = groups  # torch's name for it

    def normalize(self, x: Tensor, weight: Optional[Tensor], bias: Optional[Tensor]) -> Tensor:
        """Normalize each group of channels of each sample."""
        self._check_group(x)
        contiguous = self.grouping == "contiguous" or self.groups in (1, self.num_features)
        if contiguous and self.following is None and engine.is_native(x, self.plain, weight, bias):
            return self._normalize_native(x, weight, bias)
        nodes = engine_fused.nodes_for(x, self.plain, weight, bias)
        if nodes is not None:
            merged = [1, self.num_features // self.groups, 0 if contiguous else self.groups]
            return cast("Tensor", nodes.mixed(x, weight, bias, merged, self.eps)[0])
        # (N, C) as (N, outer, inner): one of the two counts the groups, the other is merged
        inner = self.num_features // self.groups if contiguous else self.groups
        shape, dim = (x.shape[0], -1, inner), 2 if contiguous else 1

        def solve(mean: Tensor, var: Tensor, weight: Any, bias: Any) -> Solved:
            m, v = pool(mean.reshape(shape), var.reshape(shape), dim)
            offset = (mean.reshape(shape) - m).reshape(mean.shape)
            scale = (v + self.eps).rsqrt().expand_as(mean.reshape(shape)).reshape(mean.shape)
            return Solved(*affine_after(scale, offset, weight, bias), ())

        group = Pool(1, self.num_features // self.groups, 0 if contiguous else self.groups)
        form = (
            make_form(self.eps, own=True) if group.channels == 1 else make_form(self.eps, (group,))
        )
        return engine.normalize(x, solve, (weight, bias), self.plain, form, self.following)[0]

    def _check_group(self, x: Tensor) -> None:
        if self.num_features // self.groups * positions(x) == 1:
            raise InvalidSpec(
                f"{type(self).__name__} on shape {tuple(x.shape)}: each group of channels has one "
                "value, and a variance needs two; use fewer groups, or another kind such as "
                "'layer' where maps are 1 x 1"
            )

    def _normalize_native(
        self, x: Tensor, weight: Optional[Tensor], bias: Optional[Tensor]
    ) -> Tensor:
        if self.groups == 1 and x.dim() == 2:  # the same, but layer norm's kernel is faster
            return F.layer_norm(x, (self.num_features,), weight, bias, self.eps)
        return passes.like(F.group_norm(x, self.groups, weight, bias, self.eps), x)

    def extra_repr(self) -> str:
        """Show what the constructor was given."""
        return f"{super().extra_repr()}, groups={self.groups}, grouping={self.grouping!r}"


class LayerNorm(GroupNorm):
    """
    Normalize each sample over all its channels and positions.

    This is GroupNorm with one group. On images, the affine has one entry per channel, while the
    affine of torch.nn.LayerNorm also has one entry for each position.

    Args:
        num_features: C, the number of channels.
        eps: added to the variance.
        affine: learn weight and bias, one of each per channel.
        dims: 1, 2 or 3 dimensions of positions.

    Shape:
        (N, C, positions...) -> the same, dtype kept.

    Source:
        Ba, Kiros and Hinton, "Layer Normalization", 2016, arXiv:1607.06450, equation 3.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = _LAYER_NORM.eps,
        affine: bool = _LAYER_NORM.affine,
        dims: int = 2,
    ) -> None:
        super().__init__(num_features, 1, "contiguous", eps, affine, dims)


class InstanceNorm(GroupNorm):
    """
    Normalize each channel of each sample over its positions.

    Args:
        num_features: C, the number of channels.
        eps: added to the variance.
        affine: learn weight and bias.
        dims: 1, 2 or 3 dimensions of positions.

    Shape:
        (N, C, positions...) -> the same, dtype kept.

    Raises:
        InvalidSpec: there is only one position, so the output could only be the bias.

    Source:
        Ulyanov, Vedaldi and Lempitsky, "Instance Normalization", 2016, arXiv:1607.08022,
        equation 4.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = _INSTANCE_NORM.eps,
        affine: bool = _INSTANCE_NORM.affine,
        dims: int = 2,
    ) -> None:
        super().__init__(num_features, num_features, "contiguous", eps, affine, dims)
