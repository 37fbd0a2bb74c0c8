"""Specifications with all kinds of faults, from a seeded generator."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from typing import Any

_JOB: dict[str, Any] = {
    "name": "a job",
    "normalizer": {"kind": "group", "groups": 4, "proxy": True},
    "model": {"name": "preresnet8", "width": 8},
    "dataset": {"name": "digits", "train_size": 100},
    "batch_size": 8,
    "epochs": 1,
    "max_steps": 5,
    "optimizer": {"name": "sgd", "lr": 0.1, "norms_of": None},
    "schedule": {"name": "step", "milestones": [0.5]},
    "checkpoint": {"every_steps": 5},
    "seed": 3,
    "diagnostics": ["power"],
}
_GRID: dict[str, Any] = {
    "name": "a study",
    "base": {"normalizer": "batch", "dataset": {"name": "digits"}, "epochs": 1},
    "axes": {"batch_size": [8, 4], "optimizer.lr": [0.1, 0.2]},
    "seeds": 2,
    "exclude": [{"batch_size": 8, "optimizer.lr": [0.1]}],
    "priority": 1,
}
_SEARCH: dict[str, Any] = {
    "name": "a search",
    "base": {"normalizer": "batch", "dataset": {"name": "digits"}},
    "search": {"trials": 3, "space": {"optimizer.lr": {"low": 0.01, "high": 1, "log": True}}},
}
_WHOLE = {
    "/v1/jobs": (_JOB,),
    "/v1/jobs:validate": (_JOB,),
    "/v1/studies": (_GRID, _SEARCH),
    "/v1/studies:preview": (_GRID, _SEARCH),
}
_HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63 - 1, 2**63, -(2**63) - 1, 10**30, 10**400, 0.5, -0.0,
    5e-324, 1e308, float("nan"), float("inf"), -float("inf"), "", " ", "x" * 5000, "\x00", "a\x00b",
    "\ud800", "\udfff\ud800", "\u202e", "\x1b[2J", "NaN", "1e999", "batch", "twin", "../../etc",
    "=1+1", "{}", [], [[]], {}, {"": 1}, {"\x00": 1}, {"\ud800": 1}, {"kind": "batch"},
    {"kind": {}}, {"name": []}, {"kind": "group", "groups": 10**30}, {"low": 1, "high": 10**30},
    {"low": 2, "high": 32}, {"choices": []}, {"choices": [{}, [], None]}, list(range(2000)),
    40_000_000, 20_001, {"a.b.c": 1}, {".".join("a" * 300): [1]}, {".": [1]}, {"seed": [1]},
)  # fmt: skip


def malformed(seed: int, count: int) -> Iterator[tuple[str, bytes]]:
    """Yield *count* paths and bodies, the same for the same *seed*."""
    chance = random.Random(seed)
    for _ in range(count):
        path = chance.choice(list(_WHOLE))
        spec = copy.deepcopy(chance.choice(_WHOLE[path]))
        for _ in range(chance.choice((1, 1, 1, 2, 4))):
            _spoil(chance, spec)
        text = json.dumps(spec, ensure_ascii=chance.random() < 0.7)
        body = text.encode("utf-8", "surrogatepass")
        yield path, chance.choice(_TEXTS)(chance, body) if chance.random() < 0.2 else body


def _spoil(chance: random.Random, spec: Any) -> None:
    where = spec
    while True:
        keys = list(where) if isinstance(where, dict) else list(range(len(where)))
        if not keys:
            return
        key = chance.choice(keys)
        inner = where[key]
        if isinstance(inner, (dict, list)) and chance.random() < 0.7:
            where = inner
            continue
        break
    chance.choice((_replace, _replace, _replace, _rename, _bury))(chance, where, key)


def _replace(chance: random.Random, where: Any, key: Any) -> None:
    where[key] = copy.deepcopy(chance.choice(_HOSTILE))


def _rename(chance: random.Random, where: Any, key: Any) -> None:
    if isinstance(where, dict):
        name = chance.choice([h for h in _HOSTILE if isinstance(h, str)])
        where[name] = where.pop(key)


def _bury(chance: random.Random, where: Any, key: Any) -> None:
    for _ in range(chance.choice((3, 31, 33, 200))):
        where[key] = [where[key]] if chance.random() < 0.5 else {"x": where[key]}


def _cut(chance: random.Random, body: bytes) -> bytes:
    return body[: chance.randrange(len(body))]


def _noise(chance: random.Random, body: bytes) -> bytes:
    at = chance.randrange(len(body))
    return body[:at] + bytes(chance.randrange(256) for _ in range(3)) + body[at + 3 :]


def _twice(chance: random.Random, body: bytes) -> bytes:
    return body.replace(b'"name"', b'"name": 1, "name"')


def _deep(chance: random.Random, body: bytes) -> bytes:
    return b'{"base":' * chance.choice((40, 260, 5000, 100_000))


def _long_number(chance: random.Random, body: bytes) -> bytes:
    return body.replace(b"1", b"1" + b"0" * chance.choice((30, 400, 5000)), 1)


_TEXTS: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    _cut, _noise, _twice, _deep, _long_number,
)  # fmt: skip
