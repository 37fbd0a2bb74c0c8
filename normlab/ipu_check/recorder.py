"""Record a running model: its operators, their modules, and the tensors that they overwrite."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

import torch
from torch import Tensor, nn

from normlab.norms.typed_bases import DispatchMode

# These write running statistics, although PopTorch does not count them as in-place operators.
_BATCH_NORMS = {
    "aten::native_batch_norm",
    "aten::_native_batch_norm_legit",
    "aten::_batch_norm_with_update",
}


class OpRecorder(DispatchMode):
    """Records each operator once, with the first module that called it, and each written tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.ops: Dict[str, str] = {}  # operator -> path of a module that called it
        self.written: Set[int] = set()  # ids of tensors changed in place
        self._path: List[str] = []

    @contextmanager
    def watch(self, model: nn.Module) -> Iterator[None]:
        """Record what *model* does, by module."""
        handles = []
        for path, module in model.named_modules():
            handles.append(module.register_forward_pre_hook(self._enter(path)))
            handles.append(module.register_forward_hook(self._leave))
        try:
            with self:
                yield
        finally:
            for handle in handles:
                handle.remove()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Tuple[Any, ...] = (),
        kwargs: Optional[Mapping[str, Any]] = None,
    ) -> Any:
        """Record *func* and the tensors that it writes, then call it."""
        name = func._schema.name
        self.ops.setdefault(name, self._path[-1] if self._path else "")
        if name not in _BATCH_NORMS:
            for argument, value in zip(func._schema.arguments, args):
                if argument.alias_info is not None and argument.alias_info.is_write:
                    self.written.update(id(x) for x in _tensors(value))
        return func(*args, **(kwargs or {}))

    def _enter(self, path: str) -> Any:
        def hook(module: nn.Module, inputs: Any) -> None:
            self._path.append(path)

        return hook

    def _leave(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self._path.pop()


def _tensors(value: Any) -> List[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [x for x in value if isinstance(x, Tensor)] if isinstance(value, (list, tuple)) else []


def custom_functions(loss: Tensor) -> List[str]:
    """Name the `torch.autograd.Function`s in *loss*'s graph; PopTorch drops their backward."""
    names: Set[str] = set()
    seen: Set[Any] = set()
    todo: List[Any] = [loss.grad_fn]
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if isinstance(node, torch.autograd.function.BackwardCFunction):  # custom ones
            names.add(type(node).__name__.replace("Backward", ""))
        todo.extend(parent for parent, _ in node.next_functions)
    return sorted(names)
