"""The host's processor: float32, and bfloat16 where operators support it."""

from __future__ import annotations

import copy
import platform
import resource
import sys
from contextlib import ExitStack, contextmanager
from typing import Any, Dict, Iterator, Optional

import torch
from torch import Tensor, nn

from accelerators.replica_group import ReplicaGroup
from accelerators.small_updates import keep_freed_memory, lean_convolutions, suit
from accelerators.thread_choice import choose_threads
from accelerators.torch_session import TorchSession
from normlab import norms
from normlab.errors import DeviceUnavailable, JobError, OutOfDeviceMemory, UnsupportedModel
from normlab.host.limits import usable_cores, usable_memory_bytes
from normlab.specs.costs import parallel_share
from normlab.specs.jobs import JobSpec
from normlab.training.accelerator import Probe, StepResult


def open_device(
    spec: JobSpec, threads: Optional[int] = None, group: Optional[ReplicaGroup] = None
) -> CpuAccelerator:
    """
    Open the CPU for one job, or for one replica of it.

    Raises:
        UnsupportedModel: the job has more replicas than *group*.
    """
    check_replicas(spec, group)
    chooses = spec.threads is None and threads is not None and group is None
    return CpuAccelerator(spec.threads or threads, group, chooses=chooses)


def check_replicas(spec: JobSpec, group: Optional[ReplicaGroup]) -> None:
    """
    Refuse a process with fewer replicas than *spec* says.

    Raises:
        UnsupportedModel: the message has settings for the same update in one process.
    """
    there = 1 if group is None else group.count
    if spec.replicas != there:
        raise UnsupportedModel(
            f"replicas={spec.replicas}, and this process is one of {there}: a job process starts "
            "one for each (python -m workers.job); here, use replicas=1 and gradient_accumulation="
            f"{spec.gradient_accumulation * spec.replicas} for the same samples per update"
        )


class CpuAccelerator:
    """
    The CPU.

    Args:
        threads: the threads for torch's operators, over all replicas; None means one per core.
        group: the replicas that this process belongs to, if there are others.
        chooses: whether *threads* is a maximum and not the exact number.
    """

    kind = "cpu"
    runtime = "cpu"
    timing_valid = True

    def __init__(
        self,
        threads: Optional[int] = None,
        group: Optional[ReplicaGroup] = None,
        *,
        chooses: bool = False,
    ) -> None:
        self.threads = threads if group is None else group.share_of(threads)
        self._group = group
        self._chooses = chooses

    def probe(self) -> Probe:
        """Describe the processor, which is always available."""
        return Probe(
            available=True,
            reason="every host has one",
            description=_processor(),
            memory_bytes=usable_memory_bytes(),
            versions={"torch": torch.__version__, "python": platform.python_version()},
            facts=replica_facts(self._group),
        )

    @contextmanager
    def session(self, model: nn.Module, spec: JobSpec) -> Iterator[TorchSession]:
        """
        Train *model* in place, with the given threads and a fixed order of sums.

        Raises:
            DeviceUnavailable: acceleration "kernels" finds no compiler here.
        """
        with host_computation(self.threads, spec), _kernels(spec):
            yield _CpuSession(model, spec, torch.device("cpu"), self._group, self._chooses)


class _CpuSession(TorchSession):
    def __init__(
        self,
        model: nn.Module,
        spec: JobSpec,
        device: torch.device,
        group: Optional[ReplicaGroup],
        chooses: bool,
    ) -> None:
        super().__init__(model, spec, device, group)
        self._chooses = chooses
        self._lean = suit(model, spec)

    def train(self, x: Tensor, y: Tensor) -> StepResult:
        """Make one update."""
        with lean_convolutions(self._lean):
            return super().train(x, y)

    def settle_threads(self, recorded: Optional[int], x: Tensor, y: Tensor, updates: int) -> int:
        """Choose the number of threads if neither the job nor an earlier attempt has set it."""
        most = torch.get_num_threads()
        if recorded is None and self._chooses and most > 1:
            recorded = self._choice(most, x, y, updates)
        return super().settle_threads(recorded, x, y, updates)

    def _choice(self, most: int, x: Tensor, y: Tensor, updates: int) -> int:
        # a copy, and random states restored: the choice does not change the job's results
        spec = self._spec.model_copy(update={"gradient_accumulation": 1})
        with torch.random.fork_rng(devices=[]), lean_convolutions(self._lean):
            trial = TorchSession(copy.deepcopy(self.model), spec, self.device)
            trial.prepare(0.0, 0.0)
            return choose_threads(lambda: trial.train(x, y), most, updates, parallel_share(spec))

    def memory_peak_bytes(self) -> int:
        """Return the peak memory of this process, or of the processes of all replicas."""
        peak = resident_peak_bytes()
        return peak if self._group is None else self._group.total(peak)


@contextmanager
def _kernels(spec: JobSpec) -> Iterator[None]:
    # Exactly what was requested: a resumed job computes in the same way as before.
    with ExitStack() as stack:
        try:
            stack.enter_context(norms.fused_kernels(spec.acceleration == "kernels"))
        except DeviceUnavailable as e:
            raise DeviceUnavailable(f"acceleration 'kernels': {e}") from e
        yield


def replica_facts(group: Optional[ReplicaGroup]) -> Dict[str, Any]:
    """Return the description of the replicas for a result."""
    if group is None:
        return {}
    facts = {"replicas": group.count, "backend": group.backend}
    if group.sharding is not None:
        facts["sharding"] = group.sharding
    return facts if group.hosts == 1 else {**facts, "hosts": group.hosts}


def resident_peak_bytes() -> int:
    """
    Return the peak resident size of this process.

    On Linux it is read from the process's own memory figures, because `getrusage` also counts the
    memory that the parent had when it started this process.
    """
    try:
        with open("/proc/self/status") as file:
            peaks = [line.split()[1] for line in file if line.startswith("VmHWM:")]
    except OSError:
        peaks = []
    if peaks:
        return int(peaks[0]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@contextmanager
def host_computation(threads: Optional[int], spec: JobSpec) -> Iterator[None]:
    """Set the threads and the determinism that *spec* asks for; restore both on exit."""
    keep_freed_memory()
    threads_before, deterministic = torch.get_num_threads(), _deterministic()
    torch.set_num_threads(threads or threads_before)
    _set_deterministic(spec.deterministic)
    try:
        with errors_in_our_words(spec):
            yield
    finally:
        torch.set_num_threads(threads_before)
        _set_deterministic(deterministic)


@contextmanager
def errors_in_our_words(spec: JobSpec) -> Iterator[None]:
    """Translate torch's errors about memory and about operators with a random order of sums."""
    try:
        yield
    except RuntimeError as e:
        ours = _in_our_words(e, spec)
        if ours is None:
            raise
        raise ours from e


def _in_our_words(error: RuntimeError, spec: JobSpec) -> Optional[JobError]:
    said = str(error)
    if "can't allocate memory" in said:
        return OutOfDeviceMemory(
            f"the host has not enough memory at batch_size={spec.batch_size}; lower it ({said})"
        )
    if "does not have a deterministic implementation" in said:
        return UnsupportedModel(f"{said.split(',')[0]}; set deterministic to false to train it")
    return None


def _deterministic() -> bool:
    return torch.are_deterministic_algorithms_enabled()


def _set_deterministic(on: bool) -> None:
    torch.use_deterministic_algorithms(on)
    # Since torch 2.2 this mode also fills new tensors, which we never read before writing them.
    settings = getattr(torch.utils, "deterministic", None)
    if settings is not None:
        settings.fill_uninitialized_memory = not on


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.split(":", 1)[1].strip() for line in file if "model name" in line]
    except OSError:
        names = []
    return f"{names[0] if names else platform.machine()}, {usable_cores()} cores"
