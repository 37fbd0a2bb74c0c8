"""Rings wake idle slots, and no ring is missed."""

from __future__ import annotations

import threading
import time

from workers.slots import Bell


def test_a_ring_wakes_every_waiting_slot() -> None:
    bell = Bell()
    woken: list[bool] = []
    slots = [threading.Thread(target=lambda: woken.append(bell.wait(0, 60))) for _ in range(3)]
    for slot in slots:
        slot.start()
    while not bell.ring():
        time.sleep(0.001)
    for slot in slots:
        slot.join(60)
    assert woken == [True, True, True]


def test_a_ring_between_the_look_and_the_wait_counts() -> None:
    bell = Bell()
    seen = bell.rings
    bell.ring()
    assert bell.wait(seen, timeout_s=0)


def test_without_a_ring_the_wait_ends_by_itself() -> None:
    assert not Bell().wait(0, timeout_s=0.01)


def test_a_ring_says_whether_anybody_waited() -> None:
    assert not Bell().ring()
