"""Power decomposition: split each layer's signal into terms of channels, samples and space."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import Dict, Iterator, Mapping, Tuple, Union

import torch
from torch import Tensor, nn

from normlab.diagnostics.sites import normalized, normalizer_sites
from normlab.diagnostics.untouched import hooked
from normlab.errors import InvalidSpec

TERMS = ("channel_mean", "sample_mean", "channel_std", "sample_std")


@dataclass(frozen=True)
class Power:
    """The four terms, each the mean over channels; they add up to the mean of y squared."""

    channel_mean: float
    sample_mean: float
    channel_std: float
    sample_std: float

    @property
    def total(self) -> float:
        """Return the power of the tensor, the sum of all terms."""
        return self.channel_mean + self.sample_mean + self.channel_std + self.sample_std

    def shares(self) -> Dict[str, float]:
        """Return each term as a share of the total; all shares are 0 for a tensor of zeros."""
        total = self.total or 1.0
        return {name: getattr(self, name) / total for name in TERMS}


class PowerMeter:
    """
    Accumulate the power decomposition of one tensor over batches.

    Let m and s be the mean and the biased deviation over the positions of sample n, channel c:

    P1 = (E_n m)^2   P2 = Var_n m   P3 = (E_n s)^2   P4 = Var_n s,   E[y^2] = P1 + P2 + P3 + P4

    If P1 is near 1 after normalization, there is channel-wise collapse: all samples and positions
    have the same value. Sums are kept in float64 on the host. Tensors without positions, (N, C),
    have s = 0, so P3 and P4 are 0.

    Source:
        Labatie et al., "Proxy-Normalizing Activations to Match Batch Normalization while
        Removing Batch Dependence", NeurIPS 2021, arXiv:2106.03743, the power decomposition
        of its section on channel-wise normalization. Ours adds up batches and leaves out eps.
    """

    def __init__(self) -> None:
        self._samples = 0
        self._sums: Union[Tensor, None] = None  # rows: m, m^2, s, s^2; columns: channels

    @torch.no_grad()
    def update(self, y: Tensor) -> None:
        """
        Add a batch.

        Shape:
            (N, C) or (N, C, ...), with the same C at every call

        Raises:
            InvalidSpec: there are fewer than two dimensions, or C is not as before.
        """
        if y.dim() < 2:
            raise InvalidSpec(f"shape {tuple(y.shape)}: a power needs (N, C) or (N, C, ...)")
        flat = y.detach().double().flatten(2) if y.dim() > 2 else y.detach().double().unsqueeze(2)
        m, s = flat.mean(2), flat.std(2, unbiased=False)  # (N, C, D) -> (N, C)
        rows = torch.stack([m.sum(0), (m * m).sum(0), s.sum(0), (s * s).sum(0)]).cpu()
        if self._sums is not None and self._sums.shape != rows.shape:
            raise InvalidSpec(
                f"{rows.shape[1]} channels, the first batch had {self._sums.shape[1]}"
            )
        self._sums = rows if self._sums is None else self._sums + rows
        self._samples += y.shape[0]

    def power(self) -> Power:
        """
        Return the decomposition over all batches so far.

        Raises:
            InvalidSpec: no batch was added yet.
        """
        if self._sums is None or self._samples == 0:
            raise InvalidSpec("no batch was added: call update first")
        m, m2, s, s2 = self._sums / self._samples
        terms = (m * m, m2 - m * m, s * s, s2 - s * s)
        return Power(*(float(term.clamp_min(0).mean()) for term in terms))


@contextmanager
def watch_power(
    model: nn.Module, modules: Union[Mapping[str, nn.Module], None] = None
) -> Iterator[Dict[str, PowerMeter]]:
    """
    Measure the power around normalizers while the model runs inside this context.

    Yields two meters per module. `NAME/norm` measures the normalized tensor before scale and
    shift. `NAME/out` measures the module's output, after the activation if the module has one.
    The meters do not change what the model computes.

    Args:
        model: any torch model.
        modules: names and modules to watch; by default every normalizer, ours or torch's.

    Raises:
        InvalidSpec: there is nothing to watch.
    """
    chosen = dict(modules) if modules is not None else normalizer_sites(model)
    if not chosen:
        raise InvalidSpec("the model has no normalizer to watch: name the modules yourself")
    meters = {f"{name}/{part}": PowerMeter() for name in chosen for part in ("norm", "out")}

    def measure(name: str, args: Tuple[Tensor, ...], out: Tensor) -> None:
        y = normalized(chosen[name], args[0], out)
        if y is not None:
            meters[f"{name}/norm"].update(y)
        meters[f"{name}/out"].update(out)

    with hooked(chosen, measure):
        yield meters
