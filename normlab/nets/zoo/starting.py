"""The start of a library's network: separate its own options from those of its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Mapping, Optional

from torch import nn

from normlab.nets.factories import Report
from normlab.nets.loaded_weights import LoadedWeights, below, file_hash, load_file
from normlab.nets.zoo.packages import refuse
from normlab.specs.zoo import ZooOptions

_FIELD = "model.options.weights"
_CONTENT = "model.options.sha256"


class Start:
    """
    The options and the initial weights that a job asks for.

    Args:
        options: the options of the job's network.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        asked = ZooOptions.model_validate(dict(options))
        self.options: Dict[str, Any] = dict(asked.model_extra or {})
        """The options for the library."""
        self.pretrained = asked.pretrained
        self.download = asked.download
        self._asked = asked

    def load(
        self, net: nn.Module, data_root: Optional[Path], num_classes: int, report: Report
    ) -> nn.Module:
        """
        Load the weights file that the job names, if there is one, and return *net*.

        Raises:
            InvalidSpec: the file is missing, or does not fit.
        """
        if self._asked.weights is not None:
            path = below(data_root, self._asked.weights, _FIELD)
            loaded = load_file(net, path, num_classes, _FIELD)
            check_content(loaded.sha256, self._asked.sha256 or loaded.sha256, loaded.source)
            tell(report, loaded)
        return net

    def pretrained_weights(self, network: str, path: Path) -> LoadedWeights:
        """
        Return a description of the library's weights for *network* at *path*, before they are read.

        Raises:
            InvalidSpec: they are not the weights that the job names.
        """
        found = LoadedWeights(network, file_hash(path))
        check_content(found.sha256, self._asked.sha256, network)
        return found


def check_content(found: str, asked: Optional[str], source: str) -> None:
    """
    Refuse weights of *source* with the SHA-256 *found*, unless the job *asked* for exactly these.

    Raises:
        InvalidSpec: the job asked for other weights, or did not say which.
    """
    if asked is None:
        rule = (
            f"the weights of {source} in the cache here have the SHA-256 {found}; give it, so "
            f"that the job starts from the same weights on every host"
        )
        refuse(_CONTENT, rule)
    if asked != found:
        rule = f"the weights of {source} here have the SHA-256 {found}, and the job names {asked}"
        refuse(_CONTENT, f"{rule}; put those there, or submit a new job to use these")


def tell(report: Report, loaded: LoadedWeights) -> None:
    """Pass *loaded* to *report*, if there is one."""
    if report is not None:
        report(loaded)
