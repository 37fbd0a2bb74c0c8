"""Find the loss tensor by the operator that created it, not by its position."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Set, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from accelerators.poptorch_emulation.errors import Error
from normlab.norms.typed_bases import FunctionMode

_LOSSES: Set[Callable[..., Any]] = {
    F.cross_entropy,
    F.nll_loss,
    F.mse_loss,
    F.l1_loss,
    F.smooth_l1_loss,
    F.binary_cross_entropy,
    F.binary_cross_entropy_with_logits,
    F.kl_div,
    F.poisson_nll_loss,
    F.hinge_embedding_loss,
    F.soft_margin_loss,
    F.cosine_embedding_loss,
    F.margin_ranking_loss,
    F.triplet_margin_loss,
    F.ctc_loss,
    F.multilabel_soft_margin_loss,
}

_REDUCTIONS: Dict[str, Callable[[Tensor], Tensor]] = {
    "none": torch.clone,
    "mean": torch.mean,
    "sum": torch.sum,
}


def identity_loss(x: Tensor, reduction: str) -> Tensor:
    """Reduce *x*, and mark the result as the loss."""
    if reduction not in _REDUCTIONS:
        raise Error(f"Unsupported reduction type {reduction!r}: none, mean or sum")
    loss = _REDUCTIONS[reduction](x)
    recorder = LossRecorder.active
    if recorder is not None:
        recorder.found.append(loss)
    return loss


class LossRecorder(FunctionMode):
    """Records every tensor that a loss operator or `identity_loss` creates while it is active."""

    active: Optional[LossRecorder] = None

    def __init__(self) -> None:
        super().__init__()
        self.found: List[Tensor] = []

    def __enter__(self) -> LossRecorder:
        LossRecorder.active = self
        super().__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        LossRecorder.active = None
        super().__exit__(*details)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Tuple[Any, ...] = (),
        kwargs: Optional[Mapping[str, Any]] = None,
    ) -> Any:
        """Call *func*; record its result if it is a loss."""
        result = func(*args, **(kwargs or {}))
        if func in _LOSSES:
            self.found.append(result)
        return result


def only_loss(found: Sequence[Tensor]) -> Tensor:
    """Return the only loss of *found* that no other loss is computed from."""
    marked = [loss for loss in found if loss.grad_fn is not None]
    if not marked:
        raise Error("Couldn't find a loss in graph!")
    final = [loss for loss in marked if not any(_feeds(loss, o) for o in marked if o is not loss)]
    if len(final) > 1:
        raise Error(
            "Multiple independent losses found in graph. Calculate a final loss value and mark it "
            "with poptorch.identity_loss()"
        )
    return final[0]


def _feeds(loss: Tensor, other: Tensor) -> bool:
    # Does the graph of *other* reach the node that created *loss*?
    seen: Set[Any] = set()
    todo = [node for node, _ in other.grad_fn.next_functions] if other.grad_fn else []
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        if node is loss.grad_fn:
            return True
        seen.add(node)
        todo.extend(parent for parent, _ in node.next_functions)
    return False
