"""
The networks of a pack, fused by HFTA: a script for an environment that has HFTA and not normlab.

`python hfta_script.py FILE` reads networks, samples and rates, and prints the losses of its first
updates. Then, for each number on standard input, it makes that many updates and prints the seconds
of processor time per update. Without FILE, it makes one update and prints nothing if HFTA runs.

Source of the operators:
    Wang et al., "Horizontally Fused Training Array", MLSys 2021, arXiv:2102.02344.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import torch
import torch.nn.functional as F
from hfta.ops import get_hfta_op_for
from hfta.optim import get_hfta_optim_for
from torch import Tensor, nn


class Block(nn.Module):
    """A pre-activation block of *members* networks: (N, S, c_in, H, W) -> (N, S, c_out, H', W')."""

    def __init__(self, members: int, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        conv, norm = (get_hfta_op_for(op, B=members) for op in (nn.Conv2d, nn.BatchNorm2d))
        self.norm1 = norm(c_in)
        self.conv1 = conv(c_in, c_out, 3, stride=stride, padding=1, bias=False)
        self.norm2 = norm(c_out)
        self.conv2 = conv(c_out, c_out, 3, padding=1, bias=False)
        wider = c_in != c_out
        self.projection = conv(c_in, c_out, 1, stride=stride, bias=False) if wider else None

    def forward(self, x: Tensor) -> Tensor:
        """Add the branch to *x*."""
        h = F.relu_(self.norm1(x))
        shortcut = x if self.projection is None else self.projection(h)
        y: Tensor = shortcut + self.conv2(F.relu_(self.norm2(self.conv1(h))))
        return y


class PreResNet8(nn.Module):
    """The network `preresnet8` with batch norm, of *members*: (N, S, C, H, W) -> (S, N, K)."""

    def __init__(self, members: int, channels: int, width: int, classes: int) -> None:
        super().__init__()
        conv, norm, linear = (
            get_hfta_op_for(op, B=members) for op in (nn.Conv2d, nn.BatchNorm2d, nn.Linear)
        )
        self.stem = conv(channels, width, 3, stride=2, padding=1, bias=False)
        self.blocks = nn.Sequential(
            Block(members, width, width, 1),
            Block(members, width, 2 * width, 2),
            Block(members, 2 * width, 4 * width, 2),
        )
        self.norm = norm(4 * width)
        self.linear = linear(4 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs of each member."""
        h = F.relu_(self.norm(self.blocks(self.stem(x))))
        y: Tensor = self.linear(h.mean((3, 4)).transpose(0, 1))
        return y

    @torch.no_grad()
    def load(self, weights: list[Tensor]) -> None:
        """Take the parameters of all members, stacked and in the order of the network alone."""
        *before, matrix, bias = weights
        theirs = [*before, matrix.transpose(1, 2), bias.unsqueeze(1)]  # (S, in, out), (S, 1, out)
        for mine, given in zip(self.parameters(), theirs, strict=True):
            mine.copy_(given)


def optimizer_of(name: str, net: nn.Module, rate: float, members: int) -> Any:
    """Return HFTA's Adam with a rate for each member, or torch's SGD, because HFTA has none."""
    if name == "sgd":
        return torch.optim.SGD(net.parameters(), rate, momentum=0.9, fused=True)
    return get_hfta_optim_for(torch.optim.Adam, B=members)(net.parameters(), lr=[rate] * members)


class PackTraining:
    """The updates of all members, as *given* specifies them, starting from its weights."""

    def __init__(self, given: dict[str, Any]) -> None:
        stem, linear = given["weights"][0], given["weights"][-1]
        self.members, width, channels = stem.shape[:3]
        self.net = PreResNet8(self.members, channels, width, linear.shape[1])
        self.net.load(given["weights"])
        self.optimizer = optimizer_of(given["optimizer"], self.net, given["rate"], self.members)
        self.x = given["x"].transpose(0, 1).contiguous()  # (N, S, C, H, W)
        self.y = given["y"].flatten()  # first those of the first member, then of the next

    def update(self) -> Tensor:
        """Make one update; return the loss of each member."""
        self.optimizer.zero_grad(set_to_none=True)
        each = F.cross_entropy(self.net(self.x).flatten(0, 1), self.y, reduction="none")
        losses = each.view(self.members, -1).mean(1)
        losses.sum().backward()
        self.optimizer.step()
        return losses.detach()

    def seconds(self, times: int) -> float:
        """Make that many updates; return the processor time per update."""
        began = time.process_time()
        for _ in range(times):
            self.update()
        return (time.process_time() - began) / times


def try_out() -> None:
    """Make one update of very small networks; an error means that HFTA does not run here."""
    net = PreResNet8(members=2, channels=1, width=2, classes=2)
    net(torch.randn(2, 2, 1, 16, 16)).sum().backward()
    optimizer_of("adamw", net, 0.1, 2).step()


def main() -> None:
    """Serve the process that started this one."""
    torch.set_num_threads(1)
    if len(sys.argv) < 2:
        return try_out()
    given = torch.load(sys.argv[1], weights_only=True)
    training = PackTraining(given)
    print(json.dumps([training.update().tolist() for _ in range(given["first"])]), flush=True)
    for line in sys.stdin:
        print(training.seconds(int(line)), flush=True)
    return None


if __name__ == "__main__":
    main()
