"""Classes of torch to derive from, with the annotations that torch leaves out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

if TYPE_CHECKING:

    class Function(torch.autograd.Function):
        """An operator with a backward of its own."""

        @classmethod
        def apply(cls, *args: Any) -> Any:
            """Call the forward, and keep what the backward needs."""

    class _Mode:
        def __enter__(self) -> Any: ...

        def __exit__(self, *details: object) -> None: ...

    class DispatchMode(_Mode):
        """What each operator passes through while it is active."""

    class FunctionMode(_Mode):
        """What each call of a function of torch passes through while it is active."""

else:
    Function, DispatchMode = torch.autograd.Function, TorchDispatchMode
    FunctionMode = TorchFunctionMode
