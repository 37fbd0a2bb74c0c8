"""Base classes of torch, with the annotations that torch leaves out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

if TYPE_CHECKING:

    class Function(torch.autograd.Function):
        """An operator with its own backward."""

        @classmethod
        def apply(cls, *args: Any) -> Any:
            """Call the forward, and keep the values that the backward needs."""

    class _Mode:
        def __enter__(self) -> Any: ...

        def __exit__(self, *details: object) -> None: ...

    class DispatchMode(_Mode):
        """A mode that receives each operator while it is active."""

    class FunctionMode(_Mode):
        """A mode that receives each call of a torch function while it is active."""

else:
    Function, DispatchMode = torch.autograd.Function, TorchDispatchMode
    FunctionMode = TorchFunctionMode
