"""How a network of a library starts: with its own options apart from those of its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Tuple

from torch import nn

from normlab.nets.factories import Report
from normlab.nets.loaded_weights import LoadedWeights, below, file_hash, load_file
from normlab.specs.zoo import ZooOptions

_FIELD = "model.options.weights"


class Start:
    """
    What a job asks a network to start with.

    Args:
        options: of the job's network.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        asked = ZooOptions.model_validate(dict(options))
        self.options: Dict[str, Any] = dict(asked.model_extra or {})
        """Those for the library."""
        self.pretrained = asked.pretrained
        self.download = asked.download
        self._asked = asked

    def load(
        self, net: nn.Module, data_root: Optional[Path], num_classes: int, report: Report
    ) -> nn.Module:
        """
        Load the file that the job names, if it names one, and return *net*.

        Raises:
            InvalidSpec: it is not there, or does not fit.
        """
        if self._asked.weights is not None:
            path = below(data_root, self._asked.weights, _FIELD)
            tell(report, load_file(net, path, num_classes, _FIELD))
        return net


def tell(report: Report, loaded: LoadedWeights) -> None:
    """Pass *loaded* on to who wants to know."""
    if report is not None:
        report(loaded)


def tell_file(report: Report, name: str, path: Path, fresh: Tuple[str, ...] = ()) -> None:
    """Pass on that *name* started with the library's weights in the file at *path*."""
    tell(report, LoadedWeights(name, file_hash(path), fresh))
