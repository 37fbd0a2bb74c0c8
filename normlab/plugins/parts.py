"""What is written down of each part that a plugin declares, besides normalizers."""

from __future__ import annotations

import inspect
from typing import Any, Callable, Collection, Dict

from normlab.errors import InvalidSpec
from normlab.plugins.declaring import Declared
from normlab.plugins.descriptions import EntryDescription
from normlab.plugins.options import described_options
from normlab.specs.registries import DATASETS, NETWORKS

OF_A_NETWORK = ("norm", "num_classes", "in_channels", "image_size")
OF_A_DATASET = ("split", "data_root")


def described_network(declared: Declared, path: str) -> EntryDescription:
    """Describe a network; where its normalizers stand is seen by building it, elsewhere."""
    takes = inspect.signature(_callable(declared)).parameters
    form = "norm" if "norm" in takes else "converted"
    return _described(declared, path, form, OF_A_NETWORK)


def described_dataset(declared: Declared, path: str) -> EntryDescription:
    """Describe a dataset, unread."""
    takes = inspect.signature(_callable(declared)).parameters
    if "split" not in takes:
        raise InvalidSpec(
            f"{declared.target.__name__}({', '.join(takes)}): a dataset's factory takes split, "
            "which is 'train' or 'test'"
        )
    return _described(declared, path, "", OF_A_DATASET)


def summary_of(declared: Declared) -> str:
    """Return the first line of the docstring, or the name."""
    return (inspect.getdoc(declared.target) or declared.name).splitlines()[0]


def _callable(declared: Declared) -> Callable[..., Any]:
    if not callable(declared.target):
        raise InvalidSpec(f"the {declared.part} {declared.name!r} is not callable")
    target: Callable[..., Any] = declared.target
    return target


def _described(
    declared: Declared, path: str, form: str, given: Collection[str]
) -> EntryDescription:
    return EntryDescription(
        part=declared.part,
        name=declared.name,
        path=path,
        summary=summary_of(declared),
        form=form,
        facts=declared.facts,
        options=described_options(declared.target, given),
    )


DESCRIBED: Dict[str, Callable[[Declared, str], EntryDescription]] = {
    NETWORKS: described_network,
    DATASETS: described_dataset,
}
