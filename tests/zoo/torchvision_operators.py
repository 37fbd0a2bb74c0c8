"""
Let torchvision be imported beside a torch of another build, in the environment of these tests.

PyPI has torchvision for CUDA alone, and beside the CPU build of torch its compiled operators cannot
be loaded. They are for detection (non-maximum suppression, pooling of regions); no network that
classifies uses them. torchvision's Python asks for two of them by name when it is imported, so
these are declared here, without an implementation: whoever calls one gets torch's error.
"""

from __future__ import annotations

import importlib.abc
import sys
from typing import Any, List

_ASKED_FOR = ("nms", "qnms")
_libraries: List[Any] = []  # what is declared lives as long as the object that declared it


class _BeforeTorchvision(importlib.abc.MetaPathFinder):
    def find_spec(self, name: str, path: Any, target: Any = None) -> None:
        """Declare the operators once, before torchvision is looked for."""
        if name == "torchvision" and not _libraries:
            from torch.library import Library

            library = Library("torchvision", "DEF")
            for operator in _ASKED_FOR:
                library.define(
                    f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
                )
            _libraries.append(library)


sys.meta_path.insert(0, _BeforeTorchvision())
