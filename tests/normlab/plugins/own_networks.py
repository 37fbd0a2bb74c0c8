"""Networks and datasets as their authors would write them."""

from __future__ import annotations

from pathlib import Path

from normlab.plugins.sources import PluginFiles
from tests.normlab.plugins.authors import source

MY_NETS = '''
import torch
from torch import nn
import normlab
from pydantic import Field
from typing_extensions import Annotated


@normlab.network("tower_of_mine", min_image_size=8)
def tower(norm, num_classes, in_channels, image_size, *,
          depth: Annotated[int, Field(ge=1, le=8)] = 2, width: int = 4):
    """Plain convolutions, one after the other."""
    layers, before = [], in_channels
    for i in range(depth):
        stride = 2 if i else 1
        layers += [nn.Conv2d(before, width, 3, stride, 1, bias=False), norm(width, "relu")]
        before = width
    head = nn.Linear(before, num_classes)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)


@normlab.network("torches_of_mine", min_image_size=8)
class Torches(nn.Module):
    """A module with torch's batch norm inside."""

    def __init__(self, num_classes, in_channels):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(in_channels, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Linear(8, num_classes)

    def forward(self, x):
        return self.head(self.body(x).mean((2, 3)))


class Stripes:
    def __init__(self, n, period):
        self.n, self.period = n, period

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        row = torch.arange(16) + i
        along = (row % self.period < self.period // 2).float()
        image = along.expand(16, 16) if i % 2 else along[:, None].expand(16, 16)
        noise = torch.randn(1, 16, 16, generator=torch.Generator().manual_seed(i))
        return image[None] + 0.1 * noise, i % 2


@normlab.dataset("stripes_of_mine", num_classes=2, channels=1, image_size=16)
def stripes(split, *, period: Annotated[int, Field(ge=2, le=16)] = 4):
    """Stripes that go down, or across."""
    return Stripes(128 if split == "train" else 64, period)
'''


def my_nets() -> PluginFiles:
    return source("my_nets.py", MY_NETS)


def nets_written(folder: Path) -> Path:
    """Write the plugin as a file, and return its path."""
    path = folder / "my_nets.py"
    path.write_text(MY_NETS)
    return path


JOB = {
    "normalizer": "batch",
    "model": {"name": "tower_of_mine"},
    "dataset": {"name": "stripes_of_mine"},
    "batch_size": 16,
    "epochs": 1,
    "threads": 1,
}
