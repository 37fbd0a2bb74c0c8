"""The optimizer of a pack on an emulated IPU: PopTorch's own, with groups for each member."""

from __future__ import annotations

from typing import Any, Dict, Iterator, Mapping, Sequence, Tuple

from torch import Tensor, nn

from accelerators.ipu_session import make_optimizer, optimizer_over
from normlab.specs.jobs import JobSpec
from normlab.training.packs.apart import ApartNetwork


class MemberOptimizers:
    """
    PopTorch's optimizer of a pack; its groups are the groups of the members' own optimizers.

    Args:
        library: the emulation of `poptorch`.
        network: the network whose parameters are updated.
        nets: the members' networks, which have the hints for their parameters.
        specs: the members' specs.

    Attributes:
        joined: the program's optimizer.
    """

    def __init__(
        self,
        library: Any,
        network: ApartNetwork,
        nets: Sequence[nn.Module],
        specs: Sequence[JobSpec],
    ) -> None:
        self._own = [make_optimizer(library, net, spec) for net, spec in zip(nets, specs)]
        groups, self._members, first = [], [], [0]  # first: number of a member's first parameter
        for member, (net, own) in enumerate(zip(nets, self._own)):
            names = {id(p): name for name, p in net.named_parameters()}
            ours = network.of_member(member)
            for group in own.param_groups:
                groups.append({**group, "params": [ours[names[id(p)]] for p in group["params"]]})
                self._members.append(member)
            first.append(first[-1] + len(ours))
        self._first = first
        self._rates: Tuple[float, ...] = ()
        self.joined = optimizer_over(library, groups, specs[0])

    def take_rates(self, rates: Sequence[float]) -> bool:
        """Set the rate of each member; return whether one has changed."""
        if self._rates == tuple(rates):
            return False
        self._rates = tuple(rates)
        for group, member in zip(self.joined.param_groups, self._members):
            group["lr"] = rates[member] * group["lr_factor"]
        for own, rate in zip(self._own, rates):
            for group in own.param_groups:
                group["lr"] = rate * group["lr_factor"]
        return True

    def state_of(self, member: int) -> Dict[str, Any]:
        """Return the state of one member's optimizer, as if the job were alone."""
        begin, end = self._first[member : member + 2]
        every = self.joined.state_dict()["ipu_state"]
        found: Dict[str, Any] = self._own[member].state_dict()
        numbered = ((*key.split(".", 1), value) for key, value in every.items())
        found["ipu_state"] = {
            f"{int(n) - begin}.{name}": value
            for n, name, value in numbered
            if begin <= int(n) < end
        }
        return found

    def load_state_of(self, member: int, state: Dict[str, Any]) -> None:
        """Load the state of one member's optimizer, saved alone or in a pack."""
        begin = self._first[member]
        whole = self.joined.state_dict()
        for number, name, value in _numbered(state["ipu_state"]):
            whole["ipu_state"][f"{number + begin}.{name}"] = value
        self.joined.load_state_dict(whole)
        self._rates = ()  # the loaded state has its own rates


def _numbered(state: Mapping[str, Tensor]) -> Iterator[Tuple[int, str, Tensor]]:
    """Split the keys of the emulation's state into the parameter's number and a name."""
    for key, value in state.items():
        number, _, name = key.partition(".")
        yield int(number), name, value
