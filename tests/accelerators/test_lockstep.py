"""Threads that take turns, and the errors that they get when their common call fails."""

from __future__ import annotations

from functools import partial
from typing import Any, List, Mapping

import torch

from accelerators.lockstep import Lockstep
from normlab.errors import OutOfDeviceMemory, PackFellApart


def run(perform: Any, members: int = 2) -> List[Any]:
    """Let each member draw a number from its seed, call once, and draw another."""
    lockstep = Lockstep(members, perform)

    def work(member: int) -> Any:
        torch.manual_seed(member)
        first = float(torch.rand(()))
        return first, lockstep.meet(member, member), float(torch.rand(()))

    works = [partial(work, member) for member in range(members)]
    return lockstep.run(works, lambda member, outcome: None)


def test_each_member_has_its_own_result_and_random_numbers() -> None:
    def perform(calls: Mapping[int, int]) -> Mapping[int, int]:
        torch.rand(7)
        return {member: 10 * call for member, call in calls.items()}

    for member, found in enumerate(run(perform)):
        torch.manual_seed(member)
        first, second = torch.rand(2).tolist()
        assert found == (first, 10 * member, second)


def test_an_error_of_ours_ends_every_member_as_it_is() -> None:
    def perform(calls: Mapping[int, int]) -> Mapping[int, int]:
        raise OutOfDeviceMemory("too wide")

    assert [type(found) for found in run(perform)] == 2 * [OutOfDeviceMemory]


def test_members_go_on_apart_after_an_error_that_may_be_of_one_of_them() -> None:
    def perform(calls: Mapping[int, int]) -> Mapping[int, int]:
        raise ZeroDivisionError("a bug")

    for found in run(perform):
        assert isinstance(found, PackFellApart)
        assert "ZeroDivisionError: a bug" in str(found)
