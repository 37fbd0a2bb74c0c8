"""Forms of solve steps that Triton kernels know; the layers' *solve* functions are the definition.

A form describes a solve step whose map is y = scale * (x - M) + rest, where M and V are mixed of
the own moments of each channel of each sample and of up to two pools of them.
"""

from __future__ import annotations

from typing import Any, Callable, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor
from typing_extensions import Protocol

from normlab.norms import engine_triton
from normlab.norms.capture import Number

STANDARD, CORRECTED, CORRECTED_OUTSIDE = 0, 1, 2
"""Modes: divide by sqrt(V + eps), or correct by the past; with the last, eps is outside."""

Ratios = Tuple[Tensor, Tensor]  # (2, K) of means and variances, and their derivatives (2, K, K)


class Pool(NamedTuple):
    """
    Samples and channels that share a statistic; channels are *groups* apart if it is not 0.

    The last samples are a smaller group, if their number is not a multiple.
    """

    samples: int
    channels: int
    groups: int

    def cells(self, n: int, c: int) -> int:
        """Return the number of statistics of *n* samples and *c* channels."""
        return self.groups_of(n) * (c // self.channels)

    def groups_of(self, n: int) -> int:
        """Return the number of groups of *n* samples."""
        return -(-n // self.samples)


class Stream(Protocol):
    """What replaces statistics and, in the backward pass, their gradients, and has a state."""

    def used(self, kernels: Any, now: Tensor) -> Tensor:
        """Return the statistics (2, C) to use instead of *now*, (3, C), of the present batch."""

    def streamed(self, kernels: Any, g: Tensor, used: Tensor) -> Tensor:
        """Return the gradients of *now*'s mean and variance for those of *used*, (2, C)."""


class Form(NamedTuple):
    """
    A solve step that the kernels know.

    Args:
        eps: added to V.
        pools: one or two pools; none if only the own moments are used.
        own: whether the own moments are the first of the statistics that are mixed.
        about_zero: whether V is the mean square, and M is 0.
        ratios: returns the ratios of the mixture for the kernels and the step's own tensors.
        learns: whether each set of logits gets a gradient.
        factor: of the own variances, before they are pooled.
        mode: STANDARD, or one of the others.
        past: (2, C) for the other modes: mean and deviation.
        limits: limits of r, low and high, and of d, for the other modes.
        adds: whether the step's own tensor is added to eps, as its absolute value.
        gated: whether the first of the step's own tensors are gates that merge channels before the
            pools. A pool of one sample and one channel takes the merged moments as they are.
        stream: what replaces the only pool's statistics and their gradients, if anything.
        given: constant statistics, (2, C), that are used instead of those of the last pool.
        tracked: the number of the pool whose statistics are returned, if any.
        unbiased: whether they have the unbiased variance.
        mixes_unbiased: whether the unbiased variances of pools are used instead of the biased ones.
        seen: the number of channels of each cell of the first pool, the first ones, whose moments
            are pooled for all of them; None is all.
    """

    eps: float
    pools: Tuple[Pool, ...]
    own: bool
    about_zero: bool
    ratios: Optional[Callable[[Any, Tensor, Tensor], Ratios]]
    learns: Tuple[bool, bool]
    factor: float
    mode: int
    past: Optional[Tensor]
    limits: Tuple[Number, Number, Number]
    adds: bool
    gated: bool
    stream: Optional[Stream]
    given: Optional[Tensor]
    tracked: Optional[int]
    unbiased: bool
    mixes_unbiased: bool
    seen: Optional[int]

    def is_mixed(self) -> bool:
        """Return whether there are ratios."""
        return self.ratios is not None

    def is_pooled(self) -> bool:
        """Return whether there are pools that kernels have to compute."""
        return len(self.pools) > 0 and not (self.gated and self.pools[0] == Pool(1, 1, 0))

    def without_given(self) -> Form:
        """Return the form of the pools that kernels have to compute."""
        return self if self.given is None else self._replace(pools=self.pools[:-1])

    def seen_channels(self) -> int:
        """Return the number of channels of each cell of the first pool that are pooled."""
        return self.seen or (self.pools[0].channels if self.pools else 1)

    def statistics(self, pools: Sequence[Tensor], n: int, c: int) -> Tuple[Tensor, ...]:
        """
        Return the tracked mean and variance, (groups of samples, C), of the kernels' *pools*.

        If the last group is smaller, they are those of each sample, (N, C), so that their mean over
        the rows is always that over the samples.
        """
        if self.tracked is None:
            return ()
        pool, found = self.pools[self.tracked], pools[self.tracked]
        shape = (pool.groups_of(n), c // pool.channels, 1)
        kept = [found[0].view(shape), found[2 if self.unbiased else 1].view(shape)]
        if n % pool.samples:
            group = torch.arange(n, device=found.device) // pool.samples
            kept = [t[group] for t in kept]
        return tuple(t.expand(-1, -1, pool.channels).reshape(-1, c) for t in kept)


def make_form(
    eps: float,
    pools: Tuple[Pool, ...] = (),
    own: bool = False,
    about_zero: bool = False,
    ratios: Optional[Callable[[Any, Tensor, Tensor], Ratios]] = None,
    learns: Tuple[bool, bool] = (True, True),
    factor: float = 1.0,
    mode: int = STANDARD,
    past: Optional[Tensor] = None,
    limits: Tuple[Number, Number, Number] = (0.0, 0.0, 0.0),
    adds: bool = False,
    gated: bool = False,
    stream: Optional[Stream] = None,
    given: Optional[Tensor] = None,
    tracked: Optional[int] = None,
    unbiased: bool = True,
    mixes_unbiased: bool = False,
    seen: Optional[int] = None,
) -> Form:
    """Return a Form. It has no defaults: PyTorch 2.0 compiles no tuple with fields left out."""
    options = (factor, mode, past, limits, adds, gated, stream, given)
    rest = (tracked, unbiased, mixes_unbiased, seen)
    return Form(eps, pools, own, about_zero, ratios, learns, *options, *rest)


def kernels_for(form: Optional[Form], x: Tensor, tensors: Sequence[Optional[Tensor]]) -> Any:
    """Return the kernels if they are loaded and support *form* and these tensors, else None."""
    if form is None or x.dtype == torch.float64:
        return None
    if any(t is not None and not t.is_contiguous() for t in tensors):
        return None
    kernels = engine_triton.kernels_for(x)
    if form.gated and kernels is not None and x.shape[1] > kernels.MOST_CHANNELS:
        return None
    return kernels
