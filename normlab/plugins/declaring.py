"""The decorators that give a user's own code a name that jobs can use."""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, TypeVar

from normlab.errors import InvalidSpec
from normlab.specs.registries import METRICS, NORMALIZERS

TargetT = TypeVar("TargetT", bound=Callable[..., Any])


@dataclass(frozen=True)
class Declared:
    """A class or function of a plugin's author, with its name and the part that it is."""

    part: str
    name: str
    target: Any
    facts: Dict[str, Any] = field(default_factory=dict)
    needs: Sequence[str] = ()

    @property
    def summary(self) -> str:
        """Return the first line of the docstring, or the name."""
        return (inspect.getdoc(self.target) or self.name).splitlines()[0]


_gathered: ContextVar[Optional[List[Declared]]] = ContextVar("declarations", default=None)


@contextmanager
def gathering() -> Iterator[List[Declared]]:
    """Collect what is declared while the context is open."""
    found: List[Declared] = []
    before = _gathered.set(found)
    try:
        yield found
    finally:
        _gathered.reset(before)


def normalizer(
    name: str,
    *,
    title: str = "",
    source: str = "",
    batch_independent: bool = False,
    stateful: bool = False,
    recurrent: bool = False,
    runs_on_ipu: bool = True,
    needs: Sequence[str] = (),
) -> Callable[[TargetT], TargetT]:
    """
    Declare a kind of normalizer, for `normalizer: {kind: NAME, ...}` in jobs.

    The class is any `nn.Module` whose constructor takes `num_features` first. Its other annotated
    arguments are the options. It may take `dims` (dimensions of positions), and `activation`
    ("relu", "silu", "gelu" or None), which it then applies itself. Each place in a network gets
    one instance, whose input is (N, C, positions...).

    The other form is a function `(mean, var, *, options...) -> (scale, shift)`. It receives the
    mean and the biased variance of each channel of each sample, both (N, C). Normlab computes
    y = weight * (scale * (x - mean) + shift) + bias, in as few passes over x as for its own kinds.

    Args:
        name: lower-case letters, digits and underscores, starting with a letter.
        title: a readable name; if it is empty, *name* is used.
        source: the paper that describes it.
        batch_independent: whether no output depends on another sample; `normlab check` tests this.
        stateful: whether buffers change in training.
        recurrent: whether it can be used at the gates of a recurrent net.
        runs_on_ipu: False if plain operators cannot express it.
        needs: packages besides torch and numpy, such as "einops>=0.7" or "python>=3.10"; jobs wait
            for a worker that has them.

    Raises:
        InvalidSpec: the name cannot be used.
    """
    facts = {
        "title": title or name,
        "source": source or "its author",
        "batch_dependent": not batch_independent,
        "stateful": stateful,
        "recurrent": recurrent,
        "runs_on_ipu": runs_on_ipu,
    }
    return declare(NORMALIZERS, name, facts, needs)


def declare(
    part: str, name: str, facts: Dict[str, Any], needs: Sequence[str] = ()
) -> Callable[[TargetT], TargetT]:
    """
    Return the decorator that declares a class or function as the *part* called *name*.

    Raises:
        InvalidSpec: the name cannot be used.
    """
    bare = name[len("val/") :] if part == METRICS and name.startswith("val/") else name
    if part == METRICS and bare == name:
        raise InvalidSpec(
            f"{name!r} is not a name for a metric: begin it with val/, as in val/top5"
        )
    if not (bare.isidentifier() and bare.isascii() and bare == bare.lower() and bare[0] != "_"):
        raise InvalidSpec(
            f"{name!r} is not a name for a {part}: use lower-case letters, digits and underscores"
        )

    def declared_as(target: TargetT) -> TargetT:
        declared = Declared(part, name, target, facts, needs)
        gathered = _gathered.get()
        if gathered is None:
            from normlab.plugins.loading import use_here

            use_here(declared)
        else:
            gathered.append(declared)
        return target

    return declared_as
