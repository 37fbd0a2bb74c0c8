"""Submit workers to SLURM: `python -m workers.slurm --device cuda --minutes 240 --count 4`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from normlab.errors import InvalidSpec, NormlabError, ServiceUnavailable
from normlab.specs.devices import DEVICES, KINDS
from service.settings import Settings

NO_DATABASE = (
    "NORMLAB_DATABASE_URL names no database; the workers in the allocations need one that their "
    "nodes reach: set it, NORMLAB_BROKER_URL, and a NORMLAB_DATA_DIR that the nodes share"
)
NO_SUBMITIT = "workers in SLURM need submitit: pip install 'normlab[slurm]'"
# Seconds from the end of a job's grace period until its worker has signed off.
_FAREWELL_S = 10


def main() -> int:
    """Submit as many workers as the arguments say, and print their ids; 2: bad input."""
    options = _parser().parse_args()
    try:
        settings = Settings.from_env()
        _check(options, settings)
        told = submit(options, settings)
    except NormlabError as e:
        print(f"normlab: {' '.join(str(e).split())}", file=sys.stderr)
        return 3 if isinstance(e, ServiceUnavailable) else 2
    print(json.dumps(told) if options.json else _sentence(told))
    return 0


def submit(options: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """
    Submit the workers.

    Raises:
        InvalidSpec: submitit or SLURM is not installed here.
        ServiceUnavailable: SLURM refused.
    """
    try:
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        from workers.allocation import AllocatedWorker
    except ImportError as e:
        raise InvalidSpec(NO_SUBMITIT) from e
    folder = (options.folder or settings.data_dir / "slurm").absolute()
    executor = _executor(options, folder)
    worker = AllocatedWorker([f"--device={options.device}", f"--slots={options.slots}"])
    try:
        jobs = [executor.submit(worker).job_id for _ in range(options.count)]
    except (FailedJobError, FailedSubmissionError) as e:
        raise ServiceUnavailable(f"SLURM did not take the workers: {e}") from e
    return {
        "jobs": jobs,
        "device": options.device,
        "minutes": options.minutes,
        "drain_s": options.drain,
        "renewals": options.renew,
        "folder": str(folder),
    }


def _executor(options: argparse.Namespace, folder: Path) -> Any:
    from submitit import LocalExecutor, SlurmExecutor

    if options.executor == "local":
        local = LocalExecutor(folder, max_num_timeout=options.renew)
        local.update_parameters(timeout_min=options.minutes, signal_delay_s=options.drain)
        return local
    try:
        slurm = SlurmExecutor(folder, max_num_timeout=options.renew)
    except RuntimeError as e:
        raise InvalidSpec(f"{e} Run it where `sbatch` and `srun` are, on a login node.") from e
    slurm.update_parameters(**_allocation(options))
    return slurm


def _allocation(options: argparse.Namespace) -> dict[str, Any]:
    """Return submitit's parameters for the allocation of one worker."""
    asked: dict[str, Any] = {"requeue": True, **dict(options.sbatch)}
    parameters: dict[str, Any] = {
        "job_name": f"normlab-{options.device}",
        "time": options.minutes,
        "signal_delay_s": options.drain,
        "wckey": None,  # submitit's own would be refused where SLURM counts by such keys
    }
    counts_units = DEVICES[options.device].owns_units
    if counts_units and not {"gres", "gpus", "gpus-per-node"} & set(asked):
        parameters["gpus_per_node"] = options.slots
    return {**parameters, "additional_parameters": asked}


def _check(options: argparse.Namespace, settings: Settings) -> None:
    if settings.database_url is None:
        raise InvalidSpec(NO_DATABASE)
    least = settings.grace_s + _FAREWELL_S
    if options.drain < least:
        raise InvalidSpec(
            f"--drain {options.drain}: must be at least {least:g} s, since a job has "
            f"NORMLAB_GRACE_S={settings.grace_s:g} to write its checkpoint"
        )
    if options.minutes * 60 <= options.drain:
        raise InvalidSpec(
            f"--minutes {options.minutes}: the workers would drain at once, as they do so "
            f"--drain {options.drain} s before the end; ask for more minutes"
        )


def _sentence(told: dict[str, Any]) -> str:
    return (
        f"submitted {', '.join(told['jobs'])}: each a worker for {told['device']} for "
        f"{told['minutes']} minutes, drained {told['drain_s']} s before the end and renewed up to "
        f"{told['renewals']} times; logs are in {told['folder']}"
    )


def _key_value(text: str) -> tuple[str, str | bool]:
    key, equals, value = text.partition("=")
    if not key.strip("-"):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an option of sbatch with its value, such as partition=gpu"
        )
    return key.lstrip("-"), value if equals else True


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="normlab worker --slurm", description=__doc__)
    parser.add_argument("--device", choices=KINDS, default=KINDS[0])
    parser.add_argument(
        "--slots",
        type=_positive,
        default=1,
        help="number of jobs that each worker runs at the same time",
    )
    parser.add_argument("--count", type=_positive, default=1, help="number of workers")
    parser.add_argument(
        "--minutes", type=_positive, default=240, help="time of each allocation, in minutes"
    )
    parser.add_argument(
        "--drain",
        type=_positive,
        default=120,
        help="seconds before the end of an allocation at which jobs go back to the queue",
    )
    parser.add_argument(
        "--renew", type=int, default=10, help="number of further allocations after the first"
    )
    parser.add_argument("--sbatch", type=_key_value, action="append", default=[])
    parser.add_argument(
        "--folder", type=Path, help="folder of SLURM's logs; default: slurm in the data folder"
    )
    parser.add_argument("--executor", choices=("slurm", "local"), default="slurm")
    parser.add_argument("--json", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(main())
