"""
A long short-term memory of one layer, with a normalizer at its gates.

Source:
    Hochreiter and Schmidhuber, "Long Short-Term Memory", 1997; the normalizers as in the
    recurrent experiments of Chiley et al., "Online Normalization for Training Neural Networks",
    arXiv:1905.05894, and their code: they normalize the sum of input and state separately for each
    gate, and do not normalize the cell. Ba et al., "Layer Normalization", arXiv:1607.06450,
    section 6 of its supplement, normalize input and state separately, all gates together, and the
    cell too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import List

import torch
from torch import Tensor, nn

from normlab.errors import InvalidSpec
from normlab.nets.sites import NetSpec, PositionLinear, Site

GATES = 4


class GateLinear(nn.Linear):
    """A linear layer before gates; its initialization depends on the size of the state."""


class GateNorm(nn.Module):
    """
    Normalize the gates at each time step.

    A stateful normalizer has a separate state for each time step, with a common scale and shift.
    The first steps of a window, after an empty state, have another distribution than the last ones,
    and the backward pass of every step must follow its own forward pass. The authors' online
    normalization has one state for all steps, so its control process sees them in reverse order.

    Shape:
        (N, 4 * width) -> the same

    Raises:
        InvalidSpec: the kind cannot be used in a recurrence.
    """

    def __init__(self, net: NetSpec) -> None:
        super().__init__()
        problem = net.normalizer.problem_in_recurrence()
        if problem is not None:
            raise InvalidSpec.of([problem])
        apart = replace(net, normalizer=net.normalizer.over_gates(GATES, net.width))
        steps = net.side if net.normalizer.stateful else 1
        sites = [Site(apart, GATES * net.width, activation=False, dims=1) for _ in range(steps)]
        for site in sites[1:]:
            for name, parameter in sites[0].layer.named_parameters():
                setattr(site.layer, name, parameter)
        self.steps = nn.ModuleList(sites)

    def forward(self, gates: Tensor, step: int) -> Tensor:
        """Normalize *gates* at time *step*."""
        y: Tensor = self.steps[step % len(self.steps)](gates)
        return y


class Lstm(nn.Module):
    """
    Predict the next character at each position of a window; the initial state is empty.

    i, f, o, g = norm(W x + U h + b);  c' = sigmoid(f) c + sigmoid(i) tanh(g);
    h' = sigmoid(o) tanh(c')

    Shape:
        (N, K, T), one-hot over K -> (N, K, T), the logits of the next characters
    """

    def __init__(self, net: NetSpec) -> None:
        super().__init__()
        self.width = net.width
        self.input = GateLinear(net.in_channels, GATES * net.width)
        self.state = GateLinear(net.width, GATES * net.width, bias=False)
        self.norm = GateNorm(net)
        self.drop = nn.Dropout(net.dropout) if net.dropout else nn.Identity()
        self.head = PositionLinear(net.width, net.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Read *x* from its first character to its last."""
        inputs = self.input(x.transpose(1, 2)).unbind(1)  # T of (N, 4 * width)
        c = h = x.new_zeros(len(x), self.width)
        states: List[Tensor] = []
        for step, part in enumerate(inputs):
            gates = self.norm(part + self.state(h), step)
            i, f, o = gates[:, : -self.width].sigmoid().chunk(3, dim=1)
            c = f * c + i * gates[:, -self.width :].tanh()
            h = o * c.tanh()
            states.append(h)
        y: Tensor = self.head(self.drop(torch.stack(states, dim=2)))
        return y
