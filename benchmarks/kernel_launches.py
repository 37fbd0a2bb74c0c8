"""How many kernels a GPU has to launch for one training step of each layer, counted without a GPU.

    TRITON_INTERPRET=1 python -m benchmarks.kernel_launches

Each of torch's operators that computes or copies counts as one launch, although some of torch's
normalizers are several. Triton's kernels run in its interpreter, on a CPU, and what the layers do
there only because a CPU's numbers can be read is switched off. No time is measured.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack, contextmanager
from typing import Any, Callable, Dict, Iterator, List, Set, Tuple
from unittest import mock

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks.command import as_measured, parser_of, show
from benchmarks.norms import GROUP, layers, step_of
from normlab.errors import DeviceUnavailable
from normlab.norms import capture, engine_triton, make
from normlab.norms.sparse_switchable import SparseSwitchableNorm

SHAPES = ((2, 256, 14, 14), (128, 64))
_IN_TRITON = "triton launch"
_FREE = {  # operators that launch nothing
    "alias", "as_strided", "chunk", "detach", "detach_", "empty", "empty_like", "empty_strided",
    "expand", "expand_as", "flatten", "is_nonzero", "item", "lift_fresh", "narrow", "new_empty",
    "permute", "promote_types", "reshape", "resize_", "result_type", "select", "slice", "split",
    "squeeze", "t", "to", "transpose", "unbind", "unflatten", "unsqueeze", "view", "view_as",
    "_unsafe_view", "_reshape_alias", "set_", "resolve_conj", "resolve_neg", "new_empty_strided",
    "broadcast_to",
}  # fmt: skip


def main() -> int:
    parser_of(__doc__).parse_args()
    try:
        engine_triton.load("cpu")
    except DeviceUnavailable as e:
        print(f"skipped: {e}")
        return 0
    rows = as_measured(row for shape in SHAPES for row in rows_for(shape))
    show("kernel-launches", rows, "launches of a training step, forward and backward")
    return 0


def rows_for(shape: Tuple[int, ...]) -> List[Dict[str, Any]]:
    """Count every layer at *shape*."""
    x, g = torch.randn(shape, requires_grad=True), torch.randn(shape)
    built = layers(shape)
    for name in ("batch", "meta", "switchable"):
        built[f"{name} + relu"] = make(name, shape[1], "relu", max(len(shape) - 2, 1))
    proxied = {**GROUP, "proxy": True}
    built["group + proxy gelu"] = make(proxied, shape[1], "gelu", max(len(shape) - 2, 1))
    rows = []
    for name, layer in built.items():
        torch_count, triton_count = launches(step_of(layer, x, g), layer)
        row = {"shape": "x".join(map(str, shape)), "what": name, "torch": torch_count}
        rows.append({**row, "triton": triton_count, "together": torch_count + triton_count})
    return rows


def launches(step: Callable[[], None], layer: nn.Module) -> Tuple[int, int]:
    """Count the launches of torch and of Triton in *step*, after two others."""
    with _like_a_gpu():
        for _ in range(2):
            step()
        with profile(activities=[ProfilerActivity.CPU]) as found:
            step()
    events = [e for e in found.events() if e.device_type == torch.autograd.DeviceType.CPU]
    return sum(_counts(e) for e in events), sum(e.name == _IN_TRITON for e in events)


def _counts(event: Any) -> bool:
    """Return whether *event* is an operator that launches, and has none of them inside."""
    if not _launches(event.name):
        return False
    parent = event.cpu_parent
    while parent is not None:
        if parent.name == _IN_TRITON:
            return False
        parent = parent.cpu_parent
    return not any(_launches(name) for name in _names_inside(event))


def _launches(name: str) -> bool:
    library, _, operator = name.partition("::")
    return library == "aten" and operator not in _FREE


def _names_inside(event: Any) -> Set[str]:
    names: Set[str] = set()
    for child in event.cpu_children:
        names |= {child.name} | _names_inside(child)
    return names


@contextmanager
def _like_a_gpu() -> Iterator[None]:
    """Name each launch of Triton, and read no numbers of tensors as on a CPU."""
    from normlab.norms.triton_kernels import compiling

    class Named:
        """A kernel whose launches the profiler sees."""

        def __init__(self, run: Any) -> None:
            self._run = run

        def __call__(self, *given: Any, **options: Any) -> Any:
            with record_function(_IN_TRITON):
                return self._run(*given, **options)

    kernel_type = type(compiling._nothing)
    launched = kernel_type.__getitem__
    with ExitStack() as changed:
        for owner, name, found in (
            (kernel_type, "__getitem__", lambda kernel, grid: Named(launched(kernel, grid))),
            (capture, "is_readable", lambda x: False),
            (SparseSwitchableNorm, "_in_numbers", lambda *_: False),
        ):
            changed.enter_context(mock.patch.object(owner, name, found))
        yield


if __name__ == "__main__":
    sys.exit(main())
