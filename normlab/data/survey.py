"""Read every sample of a stream once, and keep its moments and a list of broken samples."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from functools import partial
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np
import torch
from torch import Tensor

from normlab.data.moments import Moments, by_sample, byte_counts, of_counts, of_samples
from normlab.data.sources import Pictures, Rows
from normlab.data.workers import Readers, batches_of
from normlab.errors import DatasetUnusable, JobStopped
from normlab.stored.data_cache import DataCache

Stop = Callable[[], Optional[JobStopped]]
_AT_ONCE = 64  # samples between two checks for a request to stop
_EVERY_S = 30.0


@dataclass(frozen=True)
class Survey:
    """
    The facts about a stream that are known after all of it was read.

    Args:
        moments: the channels' moments over the training samples that can be read.
        broken: for each split, the samples that cannot be read, and why.
    """

    moments: Moments
    broken: Dict[str, Dict[int, str]]

    def whole(self, split: str, count: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return which of *count* samples can be read."""
        return np.setdiff1d(np.arange(count), list(self.broken[split])).astype(np.int64)

    def to_json(self) -> bytes:
        """Encode as JSON; numbers keep all their bits."""
        moments = [part.tolist() for part in self.moments]
        return json.dumps({"moments": moments, "broken": self.broken}).encode()

    @classmethod
    def from_json(cls, content: bytes) -> Survey:
        """Decode the result of `to_json`."""
        found = json.loads(content)
        mean, deviation = (torch.tensor(part, dtype=torch.float32) for part in found["moments"])
        broken = {
            split: {int(i): said for i, said in one.items()}
            for split, one in found["broken"].items()
        }
        return cls((mean, deviation), broken)


def survey_pictures(
    splits: Dict[str, Pictures], kept: DataCache, workers: int, skip_broken: bool, stop: Stop
) -> Survey:
    """
    Decode all pictures once; if this was done before, return the kept result.

    Raises:
        DatasetUnusable: a picture cannot be read, and the job does not leave out broken ones.
        JobStopped: *stop* raised it.
    """
    made_from = "/".join(f"{one.table.digest()}/{one.shape}" for one in splits.values())
    place = kept.path("survey", made_from, ".json")
    with kept.alone(place):
        content = kept.read(place)
        if content is None:
            found = _look(splits, workers, skip_broken, stop)
            kept.write(place, found.to_json())
        else:
            found = Survey.from_json(content)
    for one in found.broken.values():
        for said in one.values():
            if not skip_broken:
                raise DatasetUnusable(said)
    return found


def _look(splits: Dict[str, Pictures], workers: int, skip_broken: bool, stop: Stop) -> Survey:
    counts = torch.zeros(3, 256, dtype=torch.int64)
    broken: Dict[str, Dict[int, str]] = {split: {} for split in splits}
    for split, source in splits.items():
        readers = Readers(partial(_look_at, source), workers, prefetch=2)
        told = time.monotonic()
        try:
            for begin, (found, lost) in readers.answers(batches_of(source, _AT_ONCE)):
                if lost and not skip_broken:
                    raise DatasetUnusable(lost[0][1])
                broken[split].update(lost)
                if split == "train":
                    counts += found
                _heed(stop)
                if time.monotonic() - told > _EVERY_S:
                    told = time.monotonic()
                    print(f"checked {begin} of {len(source)} {split} pictures", flush=True)
        finally:
            readers.close()
        if len(broken[split]) == len(source):
            last = list(broken[split].values())[-1]
            raise DatasetUnusable(f"no {split} picture can be read: {last}")
    return Survey(of_counts(counts), broken)


def _look_at(source: Pictures, samples: List[int]) -> Tuple[Tensor, List[Tuple[int, str]]]:
    broken: List[Tuple[int, str]] = []
    whole = []
    for i in samples:
        try:
            whole.append(source.picture(i))
        except DatasetUnusable as e:
            broken.append((i, str(e)))
    if not whole:
        return torch.zeros(3, 256, dtype=torch.int64), broken
    return byte_counts(torch.from_numpy(np.stack(whole))), broken


def survey_rows(source: Rows, workers: int, stop: Stop) -> Moments:
    """
    Return the moments of the images in an array, reading each once.

    Raises:
        DatasetUnusable: a sample cannot be read, or is not finite.
        JobStopped: *stop* raised it.
    """
    parts: List[Tensor] = []
    readers = Readers(partial(_moments_of, source), workers, prefetch=2)
    try:
        for _, found in readers.answers(batches_of(source, _AT_ONCE)):
            parts.append(found)
            _heed(stop)
    finally:
        readers.close()
    if source.bytes_stay:
        return of_counts(torch.stack(parts).sum(0))
    return of_samples(torch.cat(parts), int(np.prod(source.shape[1:])))


def _moments_of(source: Rows, samples: List[int]) -> Tensor:
    x, _ = source.read(samples)
    return byte_counts(x) if source.bytes_stay else by_sample(x)


def _heed(stop: Stop) -> None:
    asked = stop()
    if asked is not None:
        raise asked
