"""TensorBoard event files: one folder per job, series as scalars, settings as hparams."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from normlab.errors import InvalidSpec
from normlab.exports.run import Run
from normlab.records import SeriesRecord


def write(run: Run, folder: Path) -> Path:
    """
    Write *run* into its own folder below *folder*, and return that folder.

    Files of an earlier export of the same job are replaced. A point keeps the time at which it
    was measured, and NaN and infinity are values.

    Raises:
        InvalidSpec: tensorboardX is not installed.
    """
    try:
        from tensorboardX import SummaryWriter  # imported here because it is large
        from tensorboardX.summary import hparams
    except ImportError as e:
        raise InvalidSpec("tensorboardX is not installed; pip install 'normlab[study]'") from e
    logging.getLogger("tensorboardX.x2num").setLevel(logging.ERROR)  # it warns at every NaN
    target = folder / _folder_name(run)
    for earlier in target.glob("events.out.tfevents.*"):
        earlier.unlink()
    with SummaryWriter(logdir=str(target)) as writer:
        for summary in hparams(run.settings, run.finals):
            writer.file_writer.add_summary(summary)
        writer.add_text("job", f"```json\n{run.job.spec.model_dump_json(indent=1)}\n```", 0)
        for series in run.series.values():
            _write_series(writer, series)
    return target


def _write_series(writer: object, series: SeriesRecord) -> None:
    add = writer.add_scalar  # type: ignore[attr-defined]  # the library has no types
    for step, value, moment in zip(series.steps, series.numbers(), series.times):
        add(series.name, value, step, walltime=moment)


def _folder_name(run: Run) -> str:
    name = run.job.id if run.label == run.job.id else f"{run.label[:120]}-{run.job.id}"
    return re.sub(r"[^A-Za-z0-9_.=+-]+", "_", name).strip("_.")
