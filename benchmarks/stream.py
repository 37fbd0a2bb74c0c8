"""Streamed data: memory with ten times the pictures, and speed compared with a bare loader."""

from __future__ import annotations

import io
import os
import statistics
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np
import psutil
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from accelerators.cpu import resident_peak_bytes
from benchmarks.command import at_least_one, parser_of, show
from benchmarks.new_processes import Spent, in_new_process, now
from benchmarks.pictures import pictures, write_tree
from normlab.data.augmenting import Augmenting
from normlab.data.batches import EpochBatches
from normlab.data.opening import opened
from normlab.specs.augmentations import Flip
from normlab.specs.jobs import JobSpec

NAME = "stream"
TARGET = 0.95
GROWTH_MIB = 32.0  # from a tenth of the pictures to all: an index, 36 bytes each, and noise
_MIB = 2**20
_SHARD = 10_000  # pictures in a tar file
_FAST = {"count": 1500, "side": 160, "size": 128, "batch": 32}


def main() -> int:
    """Measure both, print the tables, and return 1 if a target is missed."""
    parser = parser_of(__doc__, rounds=5)
    parser.add_argument("--pictures", type=at_least_one, default=100_000)
    parser.add_argument("--workers", type=at_least_one, default=2)
    chosen = parser.parse_args()
    grown = _memory(chosen.pictures, chosen.workers)
    slow = _speed(chosen.rounds, chosen.workers)
    return int(grown or slow)


def _memory(pictures: int, workers: int) -> bool:
    with tempfile.TemporaryDirectory() as name:
        rows = []
        for count in (pictures // 10, pictures):
            root = Path(name) / str(count)
            _write_shards(root / "set", count)
            rows.append(in_new_process(_peaks, root, count, workers))
    growth = rows[1]["training_peak_MiB"] - rows[0]["training_peak_MiB"]
    note = (
        f"peak of a process that reads everything once and makes 100 updates of 64; it grew by "
        f"{growth:.1f} MiB, at most {GROWTH_MIB:g} are promised; in memory the larger set would "
        f"take {rows[1]['decoded_MiB']:.0f} MiB"
    )
    show(f"{NAME}_memory", rows, note)
    return bool(growth > GROWTH_MIB)


def _peaks(root: Path, count: int, workers: int) -> Dict[str, Any]:
    torch.set_num_threads(1)
    spec = _spec("webdataset", 64, 64, workers)
    begun = time.monotonic()
    with opened(spec, root, lambda: None) as data:
        opened_s = time.monotonic() - begun
        batches = EpochBatches(data, 64, Augmenting(first=[Flip()]), seed=0, epoch=0)
        for i in range(min(100, len(batches))):
            batches[i]
        readers = [_peak_of(child) for child in psutil.Process().children()]
    return {
        "pictures": count,
        "workers": workers,
        "training_peak_MiB": resident_peak_bytes() / _MIB,
        "reader_peak_MiB": max(readers) / _MIB,
        "read_ahead_MiB": workers * spec.loading.prefetch * 64 * 3 * 64 * 64 / _MIB,
        "decoded_MiB": count * 3 * 64 * 64 / _MIB,
        "first_look_s": opened_s,
    }


def _peak_of(child: psutil.Process) -> int:
    lines = Path(f"/proc/{child.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def _speed(rounds: int, workers: int) -> bool:
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write_tree(root / "set", _FAST["side"], {"train": _FAST["count"], "test": 10})
        spec = _spec("image_folder", _FAST["size"], _FAST["batch"], workers)
        with opened(spec, root, lambda: None):
            pass  # the one pass over all data, whose result is stored, is not part of an epoch
        found: Dict[str, List[Spent]] = {"stream": [], "bare": []}
        works = {"stream": (_streamed, root, spec), "bare": (_bare, root, workers)}
        for i in range(rounds):
            for key in sorted(works, reverse=bool(i % 2)):
                found[key].append(in_new_process(*works[key], fork=True))
    pairs = list(zip(found["stream"], found["bare"]))
    images = _FAST["count"] // _FAST["batch"] * _FAST["batch"]
    row = {
        "workers": workers,
        "stream_images_per_s": images / statistics.median(ours.wall_s for ours, _ in pairs),
        "bare_images_per_s": images / statistics.median(bare.wall_s for _, bare in pairs),
        "ratio": statistics.median(bare.wall_s / ours.wall_s for ours, bare in pairs),
        "processor_time_ratio": statistics.median(bare.cpu_s / ours.cpu_s for ours, bare in pairs),
    }
    note = (
        f"an epoch of {images} JPEG pictures, {_FAST['side']} pixels to {_FAST['size']}, flipped "
        f"and standardized; medians of {rounds} rounds in turn, in new processes; target: both "
        f"ratios >= {TARGET}; load before {load_before:.1f}"
    )
    show(f"{NAME}_speed", [row], note)
    return min(row["ratio"], row["processor_time_ratio"]) < TARGET


def _streamed(root: Path, spec: JobSpec) -> Spent:
    torch.set_num_threads(1)
    with opened(spec, root, lambda: None) as data:
        begun = now()
        flip = Augmenting(first=[Flip()])
        updates = data.train_size // spec.batch_size
        batches = EpochBatches(data, spec.batch_size, flip, seed=0, epoch=0, updates=updates)
        for i in range(updates):
            batches[i]
        wall_s = time.perf_counter() - begun.wall_s
    return Spent(wall_s, now().cpu_s - begun.cpu_s)


def _bare(root: Path, workers: int) -> Spent:
    torch.set_num_threads(1)
    files = _Files(sorted((root / "set" / "train").rglob("*.jpg")))
    mean, scale = torch.full((1, 3, 1, 1), 120.0), torch.full((1, 3, 1, 1), 1 / 60)
    begun = now()
    loader: Any = DataLoader(
        files, _FAST["batch"], shuffle=True, num_workers=workers, drop_last=True
    )
    for pixels, _ in loader:
        x = (pixels.float() - mean) * scale
        torch.where((torch.rand(len(x)) < 0.5).view(-1, 1, 1, 1), x.flip(3), x)
    wall_s = time.perf_counter() - begun.wall_s
    return Spent(wall_s, now().cpu_s - begun.cpu_s)


class _Files(Dataset):
    def __init__(self, paths: List[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> Tuple[Tensor, int]:
        with Image.open(self.paths[i]) as opened_file:
            image = opened_file.convert("RGB")
        side, size = min(image.size), _FAST["size"]
        left, top = (image.width - side) // 2, (image.height - side) // 2
        box = (left, top, left + side, top + side)
        image = image.resize((size, size), Image.Resampling.BILINEAR, box=box)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1), i % 2


def _spec(form: str, size: int, batch: int, workers: int) -> JobSpec:
    return JobSpec.model_validate(
        {
            "normalizer": "batch",
            "dataset": {"name": form, "folder": "set", "image_size": size},
            "batch_size": batch,
            "loading": {"mode": "stream", "workers": workers},
        }
    )


def _write_shards(folder: Path, count: int) -> None:
    content = pictures(24, "PNG")
    for split, many in (("train", count), ("test", 100)):
        (folder / split).mkdir(parents=True)
        for begin in range(0, many, _SHARD):
            with tarfile.open(folder / split / f"{begin:07d}.tar", "w") as archive:
                for i in range(begin, min(begin + _SHARD, many)):
                    _add(archive, f"{i:07d}.png", content[i % len(content)])
                    _add(archive, f"{i:07d}.cls", str(i % 4).encode())


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


if __name__ == "__main__":
    sys.exit(main())
