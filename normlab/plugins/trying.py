"""Build the networks that a plugin declares, to find the places of their normalizers."""

from __future__ import annotations

import importlib
from typing import Any, Dict, Iterator, List

from normlab.errors import InvalidSpec
from normlab.plugins.descriptions import PluginDescription
from normlab.plugins.entries import EntryDescription
from normlab.plugins.making import size_key
from normlab.specs import registries
from normlab.specs.datasets import DATASETS
from normlab.specs.model_facts import SampleSize
from normlab.specs.registries import DATASETS as DATASET, NETWORKS, named_object
from normlab.specs.tasks import TASKS


def with_places(description: PluginDescription) -> PluginDescription:
    """
    Return *description* with the places of its networks' normalizers, and unsuitable sizes.

    Each network is built with its default options, for the sizes of normlab's datasets and of the
    plugin's own datasets. The plugin's code must be loaded, and the process must have torch.

    Raises:
        InvalidSpec: a network cannot be built for any of these sizes.
    """
    entries = tuple(_tried(entry, description) for entry in description.entries)
    return description.model_copy(update={"entries": entries})


def _tried(entry: EntryDescription, plugin: PluginDescription) -> EntryDescription:
    if entry.part != NETWORKS:
        return entry
    recording: Any = importlib.import_module("normlab.nets.recording")  # needs torch
    options = recording.defaults(entry.options)
    sizes = list(dict.fromkeys(_sizes(entry, plugin)))
    if options is None or not sizes:
        return entry
    places: Dict[str, List[List[int]]] = {}
    unfit: Dict[str, str] = {}
    factory, takes_norm = named_object(entry.path), entry.form == "norm"
    tasks = {**plugin.plugin().entries.get(registries.TASKS, {}), **TASKS.own}
    task = tasks.get(entry.facts["task"])
    for size in sizes:
        try:
            found = recording.record(factory, takes_norm, task, size, options)
        except MemoryError:
            raise
        except Exception as e:
            unfit[size_key(size)] = f"{type(e).__name__}: {e}"
        else:
            if found is not None:
                places[size_key(size)] = [[place.channels, place.side] for place in found]
    if len(unfit) == len(sizes):
        raise InvalidSpec(
            f"the network {entry.name!r} cannot be built for {_named(sizes[0])}: "
            f"{next(iter(unfit.values()))}"
        )
    facts = {**entry.facts, "places": places, "unfit": unfit}
    return entry.model_copy(update={"facts": facts})


def _named(size: SampleSize) -> str:
    return f"samples of {size.channels} x {size.side} x {size.side} and {size.classes} classes"


def _sizes(entry: EntryDescription, plugin: PluginDescription) -> Iterator[SampleSize]:
    task, least = entry.facts["task"], entry.facts["min_image_size"]
    own = [vars(facts) for facts in DATASETS.own.values()]
    theirs = [other.facts for other in plugin.entries if other.part == DATASET]
    for facts in (*theirs, *own):
        known = (facts["channels"], facts["num_classes"], facts["image_size"])
        if facts["task"] == task and None not in known and known[2] >= least:
            yield SampleSize(*known)
