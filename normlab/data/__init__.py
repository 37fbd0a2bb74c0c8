"""Datasets in memory and as streams, batches from them, and the random changes to images."""

from __future__ import annotations

from normlab.data.datasets import Data, Split, load

__all__ = ["Data", "Split", "load"]
