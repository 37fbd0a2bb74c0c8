"""Datasets in memory and as streams, their batches, and random augmentations of images."""

from __future__ import annotations

from normlab.data.datasets import Data, Split, load

__all__ = ["Data", "Split", "load"]
