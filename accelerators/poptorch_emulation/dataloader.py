"""A data loader that yields the samples for one call of a compiled model."""

from __future__ import annotations

from typing import Any, Optional

import torch.utils.data

from accelerators.poptorch_emulation.enums import DataLoaderMode
from accelerators.poptorch_emulation.errors import Error
from accelerators.poptorch_emulation.options import Options


class DataLoader(torch.utils.data.DataLoader[Any]):
    """
    Batches of `combinedBatchSize` samples: micro-batch x iterations x replicas x accumulation.

    Args:
        options: the options of the model that takes the batches; frozen from now on.
        dataset: the dataset to load.
        batch_size: the size of a micro-batch, which is what a layer sees.
        shuffle: whether each epoch has a new order.
        drop_last: a device only takes batches of one size, so keep this True.
        mode: only Sync is emulated.
    """

    def __init__(
        self,
        options: Options,
        dataset: Any,
        batch_size: int = 1,
        shuffle: Optional[bool] = None,
        num_workers: int = 0,
        drop_last: bool = True,
        mode: DataLoaderMode = DataLoaderMode.Sync,
        **kwargs: Any,
    ) -> None:
        if mode is not DataLoaderMode.Sync:
            raise Error(f"{mode} cannot be honoured by the host emulation; use DataLoaderMode.Sync")
        options.freeze()
        self._combined = (
            batch_size
            * options.device_iterations
            * options.replication_factor
            * options.Training.gradient_accumulation
        )
        super().__init__(
            dataset,
            batch_size=self._combined,
            shuffle=shuffle,
            num_workers=num_workers,
            drop_last=drop_last,
            **kwargs,
        )

    @property
    def combinedBatchSize(self) -> int:
        """The number of samples per call."""
        return self._combined
