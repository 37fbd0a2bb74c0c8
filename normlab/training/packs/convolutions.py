"""
Convolutions of a pack on a CPU, where products of matrices are faster than torch's grouped ones.

S members have C channels each, and K after a convolution; N samples have (H, W) positions after it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from normlab.training.packs.per_member import by_member

_MOST_TAPS = 9  # each costs a copy of the input
_SAMPLES = 32  # from here on, a call for each member costs less than the copies


class PackedConv2d(nn.Conv2d):
    """
    A convolution of each member.

    Convolutions of one tap with a stride, and those of the network's input, whose gradient is not
    needed, are products of matrices in training: copying their patches costs less than oneDNN's
    calls for groups. With many samples of several channels, that of the input is a call for each
    member. For all others, one call of oneDNN was as fast or faster.

    Attributes:
        members: S.
        by_products: whether training uses products; the session of a CPU decides this.
    """

    members: int
    by_products = False

    def forward(self, x: Tensor) -> Tensor:
        """Convolve the channels of each member."""
        if not (self.by_products and self.training):
            return super().forward(x)
        if self.kernel_size == (1, 1) and self.padding == (0, 0) and self.stride != (1, 1):
            return self._product(self._positions(x))
        if not self._is_first(x) or self.dilation != (1, 1):
            return super().forward(x)
        if x.shape[0] >= _SAMPLES and self.in_channels > self.members:
            return self._each(x)
        return self._product(self._patches(x))

    def _each(self, x: Tensor) -> Tensor:
        """Convolve the channels of one member after the other."""
        s = self.members
        biases = [None] * s if self.bias is None else self.bias.chunk(s)
        parts = zip(x.chunk(s, 1), self.weight.chunk(s), biases)
        return torch.cat([F.conv2d(*part, self.stride, self.padding) for part in parts], 1)

    def _is_first(self, x: Tensor) -> bool:
        high, wide = self.kernel_size
        return high * wide <= _MOST_TAPS and torch.is_grad_enabled() and not x.requires_grad

    def _positions(self, x: Tensor) -> Tensor:
        """Return the inputs of filters of one tap: (N, S * C, ...) -> (S, C, N, H, W)."""
        down, right = self.stride
        thin = by_member(x[:, :, ::down, ::right], self.members, 1)
        return thin.permute(1, 2, 0, 3, 4)

    def _patches(self, x: Tensor) -> Tensor:
        """Return the inputs of the filters: (N, S * C, ...) -> (S, C, taps, taps, N, H, W)."""
        above, left = map(int, self.padding)  # numbers, not a word such as "same"
        high, wide = self.kernel_size
        padded = by_member(F.pad(x, (left, left, above, above)), self.members, 1)
        windows = padded.unfold(3, high, self.stride[0]).unfold(4, wide, self.stride[1])
        return windows.permute(1, 2, 5, 6, 0, 3, 4)

    def _product(self, seen: Tensor) -> Tensor:
        """Multiply the filters' inputs, (S, C, ..., N, H, W), by the filters of each member."""
        s, (n, h, w) = self.members, seen.shape[-3:]
        filters = by_member(self.weight, s).flatten(2)  # (S, K, C * taps)
        products = torch.bmm(filters, seen.reshape(s, -1, n * h * w))
        y = products.view(-1, n, h, w).transpose(0, 1).contiguous()
        return y if self.bias is None else y + self.bias.view(-1, 1, 1)
