"""Make a layer on the engine from a function of moments, the shortest way to an own normalizer.

Its author writes only the function; the engine provides passes, precision and gradients.
"""

from __future__ import annotations

import inspect
from functools import lru_cache
from typing import Any, Callable, Optional, Type

from torch import Tensor

from normlab.errors import InvalidSpec
from normlab.norms import engine
from normlab.norms.activation_norm import ActivationNorm
from normlab.norms.engine import Solved
from normlab.specs.norm_base import ActivationNormSpec

_DEFAULTS = ActivationNormSpec()


@lru_cache(maxsize=None)
def solved_layer(function: Callable[..., Any]) -> Type[ActivationNorm]:
    """
    Return a class of layers that normalize by *function*.

    Args:
        function: a differentiable function (mean, var, *, options...) -> (scale, shift). All four
            are (N, C) or broadcast to it, and var is the biased variance. An argument `eps`
            receives the layer's eps.

    Formula:
        y = weight * (scale * (x - mean) + shift) + bias
    """
    takes_eps = "eps" in inspect.signature(function).parameters

    class SolvedNorm(ActivationNorm):
        on_engine = evaluates_on_engine = True

        def __init__(
            self,
            num_features: int,
            eps: float = _DEFAULTS.eps,
            affine: bool = _DEFAULTS.affine,
            dims: int = 2,
            **options: Any,
        ) -> None:
            super().__init__(num_features, eps, affine, dims)
            self.options = {**options, "eps": eps} if takes_eps else options

        def normalize(self, x: Tensor, weight: Optional[Tensor], bias: Optional[Tensor]) -> Tensor:
            def solve(mean: Tensor, var: Tensor, weight: Any, bias: Any) -> Solved:
                scale, shift = _checked(function, function(mean, var, **self.options), mean)
                if weight is not None:
                    scale, shift = scale * weight, shift * weight
                return Solved(scale, shift if bias is None else shift + bias, ())

            affine, following = (weight, bias), self.following
            return engine.normalize(x, solve, affine, self.plain, following=following)[0]

        def __reduce__(self) -> Any:
            return _bare, (function,), vars(self)  # pickle cannot find the class by name

        def extra_repr(self) -> str:
            said = "".join(f", {name}={value!r}" for name, value in self.options.items())
            return f"{function.__name__}, {super().extra_repr()}{said}"

    SolvedNorm.__name__ = SolvedNorm.__qualname__ = function.__name__
    SolvedNorm.__module__ = function.__module__
    SolvedNorm.__doc__ = function.__doc__
    return SolvedNorm


def _bare(function: Callable[..., Any]) -> ActivationNorm:
    layer = solved_layer(function)
    return layer.__new__(layer)


def _checked(function: Any, solved: Any, mean: Tensor) -> Any:
    shape = tuple(mean.shape)
    if not isinstance(solved, tuple) or len(solved) != 2:
        raise InvalidSpec(
            f"{function.__name__} returned {type(solved).__name__}; it returns two "
            "tensors, (scale, shift)"
        )
    for name, value in zip(("scale", "shift"), solved):
        if not isinstance(value, Tensor) or not _broadcasts(value, mean):
            found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise InvalidSpec(
                f"{function.__name__}: {name} is {found}; it must broadcast to (N, C) = {shape}"
            )
    return solved


def _broadcasts(value: Tensor, mean: Tensor) -> bool:
    try:
        return value.expand_as(mean).shape == mean.shape
    except RuntimeError:
        return False
