"""Normalize tokens: apply a normalizer of (N, C, positions...) to another layout."""

from __future__ import annotations

from torch import Tensor, nn

from normlab.errors import InvalidSpec


class TokenNorm(nn.Module):
    """
    Apply a normalizer to the channels of each token.

    With *alone*, every token is a separate sample, (tokens, C), so statistics are within one token,
    as in torch.nn.LayerNorm over the last dimension. Without it, the tokens of a sample are its
    positions, (N, C, tokens). Batch statistics are then over samples and tokens, those of instance
    normalization over the tokens of a sample, and so on, so tokens see each other.

    Args:
        norm: a normalizer with dims=1, or a module that holds one.
        num_features: C.
        alone: whether statistics are within each token.
        channels_last: whether the channels are the last dimension; otherwise they are the second.
        samples_second: whether the second dimension counts the samples, (tokens, N, ..., C); only
            possible if the channels are last.

    Shape:
        (N, ..., C) or, without *channels_last*, (N, C, ...) -> the same, dtype kept.

    Raises:
        InvalidSpec: the input has another number of channels, or no dimension of samples.
    """

    def __init__(
        self,
        norm: nn.Module,
        num_features: int,
        alone: bool,
        channels_last: bool = True,
        samples_second: bool = False,
    ) -> None:
        super().__init__()
        self.norm = norm
        self.num_features = num_features
        self.alone = alone
        self.channels_last = channels_last
        self.samples_second = samples_second

    def forward(self, x: Tensor) -> Tensor:
        """Normalize *x*."""
        self._check_input(x)
        if x.dim() == 2:
            y: Tensor = self.norm(x)
            return y
        return self._each_alone(x) if self.alone else self._as_positions(x)

    def _each_alone(self, x: Tensor) -> Tensor:
        tokens = x if self.channels_last else x.movedim(1, -1)
        y: Tensor = self.norm(tokens.reshape(-1, self.num_features)).reshape(tokens.shape)
        return y if self.channels_last else y.movedim(-1, 1)

    def _as_positions(self, x: Tensor) -> Tensor:
        first = x.transpose(0, 1) if self.samples_second else x
        images = first.movedim(-1, 1) if self.channels_last else first  # (N, C, ...)
        y: Tensor = self.norm(images.flatten(2)).reshape(images.shape)
        back = y.movedim(1, -1) if self.channels_last else y
        back = back.transpose(0, 1) if self.samples_second else back
        return back.contiguous() if x.is_contiguous() else back  # the next operator may be a view

    def _check_input(self, x: Tensor) -> None:
        channels = x.shape[-1 if self.channels_last else 1] if x.dim() > 1 else None
        if channels != self.num_features:
            shape = "(N, ..., C)" if self.channels_last else "(N, C, ...)"
            raise InvalidSpec(
                f"TokenNorm got an input of shape {tuple(x.shape)}; it takes {shape} with "
                f"C = {self.num_features}"
            )

    def extra_repr(self) -> str:
        """Show what the constructor was given."""
        return (
            f"{self.num_features}, alone={self.alone}, channels_last={self.channels_last}, "
            f"samples_second={self.samples_second}"
        )
