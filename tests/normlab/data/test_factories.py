"""A user's own dataset is read as it was declared, or refused with the sample's index."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Iterator

import numpy as np
import pytest
import torch
from pydantic import ValidationError

import normlab
from normlab.data import load
from normlab.errors import DatasetUnusable
from normlab.specs.datasets import DATASETS
from normlab.specs.jobs import JobSpec
from normlab.specs.network_and_data import DatasetSpec

pytestmark = pytest.mark.usefixtures("no_plugins")
SIZES = {"num_classes": 2, "channels": 1, "image_size": 8}


def image(value: float = 0.0) -> torch.Tensor:
    return torch.full((1, 8, 8), value)


def declare(samples: Any, **changes: Any) -> DatasetSpec:
    """Declare a dataset whose splits are both *samples*."""

    @normlab.dataset("given", **{**SIZES, **changes})
    def given(split: str) -> Any:
        return samples

    return DatasetSpec(name="given")


def test_it_is_standardized_like_ours(tmp_path: Path) -> None:
    samples = [(image(3.0), 0), (image(5.0), 1)]
    data = load(declare(samples), tmp_path)
    assert (data.channels, data.image_size, data.num_classes) == (1, 8, 2)
    assert data.train.x[:, 0, 0, 0].tolist() == pytest.approx([-1, 1])
    assert data.train.y.tolist() == [0, 1]
    left = load(declare(samples, standardize=False), tmp_path)
    assert left.test.x[:, 0, 0, 0].tolist() == [3, 5]


def test_bytes_stay_bytes_until_a_batch_is_made(tmp_path: Path) -> None:
    samples = [(np.full((1, 8, 8), i, np.uint8), np.int64(i % 2)) for i in range(4)]
    data = load(declare(samples), tmp_path)
    assert data.train.x.dtype == torch.uint8
    assert data.standardize(data.train.x).mean().item() == pytest.approx(0, abs=1e-6)


def test_an_iterable_is_read_to_its_end(tmp_path: Path) -> None:
    class Endless:
        def __iter__(self) -> Iterator[Any]:
            return ((image(float(i)), i % 2) for i in range(5))

    assert len(load(declare(Endless()), tmp_path).train) == 5


def test_a_factory_gets_its_options_the_split_and_the_data_root(tmp_path: Path) -> None:
    @normlab.dataset("asked", **SIZES)
    def asked(split: str, data_root: Path, *, count: int = 2) -> Any:
        (data_root / split).touch()
        return [(image(float(i)), i % 2) for i in range(count)]

    spec = DatasetSpec(name="asked", options={"count": 3}, train_size=2)
    data = load(spec, tmp_path)
    assert (len(data.train), len(data.test)) == (2, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["test", "train"]
    with pytest.raises(ValidationError, match=r"'asked' has no option 'size'; known are count"):
        DatasetSpec(name="asked", options={"size": 3})


@pytest.mark.parametrize(
    ("bad", "what"),
    [
        (
            (torch.zeros(1, 8, 9), 0),
            r"sample 1 has x of shape \(1, 8, 9\); the declared shape .* is \(1, 8, 8\)",
        ),
        ((torch.zeros(3, 8, 8), 0), r"sample 1 has x of shape \(3, 8, 8\)"),
        ((image(float("nan")), 0), "sample 1 has NaN or infinity in x"),
        (
            (image().byte(), 0),
            r"sample 1 has x of torch.uint8, but the samples before it have torch.float",
        ),
        ((image().long(), 0), r"sample 1 has x of torch.int64; use bytes"),
        ((image(), 0.5), r"sample 1 has y of torch.float64; classification has integer classes"),
        ((image(), [0, 1]), r"sample 1 has y of shape \(2,\); classification has \(\) here"),
        ((image(), 2), "expected 0 to 1; sample 1 is the first outside"),
        (image(), "sample 1 is Tensor, not a pair"),
        (("a picture", 0), "sample 1 holds str, which cannot become an array"),
    ],
)
def test_a_sample_that_is_not_like_the_others_is_named(tmp_path: Path, bad: Any, what: str) -> None:
    with pytest.raises(DatasetUnusable, match=f"given: train.*{what}|given: {what}"):
        load(declare([(image(1.0), 0), bad]), tmp_path)


def test_what_is_no_collection_and_what_is_empty_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetUnusable, match="its factory returned int for train"):
        load(declare(3), tmp_path)
    with pytest.raises(DatasetUnusable, match="given: train has no samples"):
        load(declare([]), tmp_path)


def test_sequences_and_maps_of_classes_are_read_as_their_task_has_them(tmp_path: Path) -> None:
    masks = [(image(float(i)), torch.zeros(8, 8)) for i in range(2)]
    with pytest.raises(DatasetUnusable, match="segmentation has integer classes"):
        load(declare(masks, task="segmentation"), tmp_path)
    whole = [(x, y.long()) for x, y in masks]
    assert load(declare(whole, task="segmentation"), tmp_path).train.y.shape == (2, 8, 8)
    texts = [(torch.rand(1, 8), torch.zeros(8, dtype=torch.int64)) for _ in range(4)]
    data = load(declare(texts, task="language"), tmp_path)
    assert data.train.x.std(unbiased=False).item() == pytest.approx(1, abs=1e-4)


def test_a_job_on_it_is_another_job_when_its_options_change() -> None:
    @normlab.dataset("varied", **SIZES)
    def varied(split: str, *, noise: float = 0.5) -> Any:
        return []

    def job(**options: float) -> str:
        return JobSpec(
            normalizer="batch", dataset={"name": "varied", "options": options}
        ).fingerprint()

    assert job() == job(noise=0.5) != job(noise=0.25)
    assert DATASETS["varied"].summary == "varied"
