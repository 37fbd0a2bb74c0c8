"""Check the normalizers, optimizers, schedules and augmentations of a plugin against all laws."""

from __future__ import annotations

import json
import statistics
import sys
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Callable, Dict, Iterator, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor, nn

from normlab.errors import NormlabError
from normlab.laws.modes import MODES, Mode, differences, tolerated, torchs_own_warnings
from normlab.laws.properties import PROPERTIES, Layer
from normlab.laws.recipe_laws import RECIPE_LAWS, hold
from normlab.laws.small_trainings import CHANNELS, Broken
from normlab.laws.ways import on_meta
from normlab.norms import make
from normlab.plugins.loading import load, use
from normlab.plugins.sources import read_source
from normlab.specs.jobs import JobSpec
from normlab.specs.norm_base import NormSpec
from normlab.specs.normalizers import parse_normalizer
from normlab.specs.registries import NORMALIZERS

OK, BROKEN, REFUSED, TOLD = "ok", "broken", "refused", "told"
# torch.jit.script fails on code that the layer does not even run, so it is no law here
LAWS = (*PROPERTIES, *(name for name in MODES if name != "jit.script"), "IPU op check", "cost")
_SHAPE = (8, 64, 16, 16)  # of the batches whose cost is measured
_ROUNDS = 15


class Outcome(NamedTuple):
    """
    The result of a law for a kind.

    Attributes:
        verdict: ok; broken; refused, by an error of normlab or torch that says so; or told, for a
            fact without a verdict.
    """

    kind: str
    law: str
    verdict: str
    detail: str = ""


def check(normalizer: Any, laws: Sequence[str] = LAWS) -> Iterator[Outcome]:
    """Check *normalizer*, a kind's name or a dictionary with its options, against *laws*."""
    spec = parse_normalizer(normalizer)
    for law in laws:
        verdict, detail = _verdict(spec, law)
        yield Outcome(spec.kind, law, verdict, detail)


def check_part(part: str, name: str, laws: Sequence[str] = ()) -> Iterator[Outcome]:
    """Check an optimizer, schedule or augmentation against *laws*; without any, against all."""
    for law in laws or RECIPE_LAWS[part]:
        verdict, detail = _said(partial(hold, part, name, law))
        yield Outcome(name, law, verdict, detail)


def declared_in(path: Path) -> Sequence[Tuple[str, str]]:
    """Load the plugin at *path* into this process, and list its parts that have laws."""
    source = read_source(path)
    folder = TemporaryDirectory(prefix="normlab-laws-")  # deleted once nothing refers to it
    found = load(source.written_below(Path(folder.name)), source.name)
    use([found])
    parts = (NORMALIZERS, *RECIPE_LAWS)
    return [(entry.part, entry.name) for entry in found.entries if entry.part in parts]


def findings(part: str, name: str) -> Iterator[Outcome]:
    """Check what a plugin declares against all laws of its part."""
    return check(name) if part == NORMALIZERS else check_part(part, name)


def _verdict(spec: NormSpec, law: str) -> Tuple[str, str]:
    return _said(partial(_of_law, spec, law))


def _of_law(spec: NormSpec, law: str) -> Optional[Tuple[str, str]]:
    if law in PROPERTIES:
        PROPERTIES[law](partial(_layer, spec, CHANNELS), spec)
    elif law in MODES:
        _hold(MODES[law], spec)
    elif law == "cost":
        times = cost(partial(_layer, spec, _SHAPE[1]))
        return TOLD, f"{times:.1f} times torch's batch norm at {list(_SHAPE)}"
    else:
        return _op_check(spec)
    return None


def _said(test: Callable[[], Optional[Tuple[str, str]]]) -> Tuple[str, str]:
    try:
        found = test()
    except Broken as e:
        return BROKEN, str(e)
    except NormlabError as e:
        return REFUSED, str(e)
    except Exception as e:  # raised by the author's code, or by torch because of it
        return BROKEN, f"{type(e).__name__}: {_shortened(e)}"
    return found or (OK, "")


def _hold(mode: Mode, spec: NormSpec) -> None:
    """Raise Broken unless *spec* gives the same results in *mode* as eagerly in float64."""
    net = partial(_net, spec)
    with torchs_own_warnings():
        found = mode.way(net())
        if mode.way is on_meta:  # it compares shapes itself
            return
        right = mode.reference(net().double())
        off = differences(found, right, tolerated(net, mode, right))
    if off:
        worst = max(off, key=lambda name: off[name])
        raise Broken(f"{worst} is off by {off[worst]:.2g} of its length")


def _op_check(spec: NormSpec) -> Tuple[str, str]:
    from normlab.ipu_check.jobs import check_job

    fields: Dict[str, Any] = {"normalizer": spec, "dataset": {"name": "digits"}}
    found = check_job(JobSpec.model_validate(fields))
    return (OK if found.passes else REFUSED), found.message


def _layer(spec: NormSpec, channels: int) -> nn.Module:
    torch.manual_seed(0)
    return make(spec, channels)


def cost(layer: Layer) -> float:
    """Return the ratio of forward and backward times to `torch.nn.BatchNorm2d`, timed in turns."""
    torch.manual_seed(0)
    x = torch.randn(_SHAPE)
    ours, theirs = layer(), nn.BatchNorm2d(_SHAPE[1])
    ratios = [_seconds(ours, x) / _seconds(theirs, x) for _ in range(_ROUNDS)]
    return statistics.median(ratios[2:])  # the first ones allocate


def _seconds(layer: nn.Module, x: Tensor) -> float:
    x = x.detach().requires_grad_()
    began = time.perf_counter()
    torch.autograd.backward(layer(x).sum())
    return time.perf_counter() - began


def _net(spec: NormSpec) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, CHANNELS, 1, bias=False), make(spec, CHANNELS))


def _shortened(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [""])[0][:300]


def main(path: Path) -> int:
    """Check what *path* declares; print one finding as JSON per line."""
    torch.set_num_threads(1)
    broken = False
    try:
        declared = declared_in(path)
    except Exception as e:
        print(json.dumps({"error": str(e) if isinstance(e, NormlabError) else repr(e)}))
        return 2
    for part, name in declared:
        for found in findings(part, name):
            broken = broken or found.verdict == BROKEN
            print(json.dumps(found._asdict()), flush=True)
    return int(broken)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
