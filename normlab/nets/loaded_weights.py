"""Read initial weights from a file, check their shapes against the network, and report them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Tuple

from torch import Tensor, nn

from normlab.errors import FieldProblem, InvalidSpec

_SHOWN = 4
_CHUNK = 1 << 20


class LoadedWeights(NamedTuple):
    """The weights that a network started with; `str` says it in one line."""

    source: str
    sha256: str
    """The digest of the file."""
    fresh: Tuple[str, ...] = ()
    """The parameters of the head that were not taken, because it has other classes."""

    def __str__(self) -> str:
        """Return the source of the weights, and the parameters that were newly initialized."""
        rest = f"; new weights, for other classes: {', '.join(self.fresh)}" if self.fresh else ""
        return f"weights of {self.source} (SHA-256 {self.sha256}){rest}"


def load_file(net: nn.Module, path: Path, num_classes: int, field: str) -> LoadedWeights:
    """
    Load the safetensors file at *path* into *net*, except a head with other classes.

    Args:
        num_classes: rows of the net's head; a head with another number of rows is not loaded.
        field: the field of the job, for messages.

    Raises:
        InvalidSpec: the file is missing or damaged, or its weights do not fit.
    """
    fresh = load_state(net, _read(path, field), num_classes, field, path.name)
    return LoadedWeights(path.name, file_hash(path), fresh)


def load_state(
    net: nn.Module, state: Dict[str, Tensor], num_classes: int, field: str, source: str
) -> Tuple[str, ...]:
    """
    Load *state* into *net*, except a head with other classes; return the names in that head.

    Raises:
        InvalidSpec: the weights do not fit; the message names some and *source*.
    """
    own = net.state_dict()
    fresh = [n for n in own if n in state and _other_head(own[n], state[n], num_classes)]
    wrong = _misfits(own, {n: t for n, t in state.items() if n not in fresh}, fresh)
    if wrong:
        rest = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        rule = (
            f"{source} does not fit {type(net).__name__}: {'; '.join(wrong[:_SHOWN])}{rest}; name "
            "another file, or use init_from, with patterns of what may be missing and unused"
        )
        raise InvalidSpec.of([FieldProblem(field, rule)])
    net.load_state_dict({**state, **{n: own[n] for n in fresh}})
    return tuple(fresh)


def _read(path: Path, field: str) -> Dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file as read

    try:
        return read(str(path))
    except OSError as e:
        rule = f"{path.name}: {e.strerror or e}; put it below the operator's data root"
        raise InvalidSpec.of([FieldProblem(field, rule)]) from e
    except SafetensorError as e:
        rule = f"{path.name} is damaged, or is not a safetensors file: {e}"
        raise InvalidSpec.of([FieldProblem(field, rule)]) from e


def _other_head(ours: Tensor, theirs: Tensor, num_classes: int) -> bool:
    rows = ours.dim() > 0 and len(ours) == num_classes and theirs.dim() == ours.dim()
    return rows and len(theirs) != num_classes and theirs.shape[1:] == ours.shape[1:]


def _misfits(own: Dict[str, Tensor], state: Dict[str, Tensor], fresh: List[str]) -> List[str]:
    said = [f"it lacks {name}" for name in own if name not in state and name not in fresh]
    said += [f"the network has no {name}" for name in state if name not in own]
    said += [
        f"{name} is {tuple(tensor.shape)} there and {tuple(own[name].shape)} here"
        for name, tensor in state.items()
        if name in own and own[name].shape != tensor.shape
    ]
    return said


def file_hash(path: Path) -> str:
    """Hash the file at *path* with SHA-256, in 64 hex digits."""
    whole = hashlib.sha256()
    with path.open("rb") as file:
        for chunk in iter(lambda: file.read(_CHUNK), b""):
            whole.update(chunk)
    return whole.hexdigest()


def below(data_root: Optional[Path], file: str, field: str) -> Path:
    """
    Return the path of *file* below *data_root*.

    Raises:
        InvalidSpec: this process has no data root.
    """
    if data_root is None:
        raise InvalidSpec.of(
            [FieldProblem(field, f"{file}: this process has no data root; set NORMLAB_DATA_ROOT")]
        )
    return data_root / file
