"""Graphcore's IPUs through PopTorch, Graphcore's simulator, or our emulation, as the job asks."""

from __future__ import annotations

import importlib
import platform
from contextlib import contextmanager, nullcontext
from typing import Any, ContextManager, Dict, Iterator, List, Optional

import torch
from torch import nn

from accelerators.cpu import host_computation
from accelerators.ipu_errors import translated
from accelerators.ipu_session import IpuSession
from normlab import norms
from normlab.errors import DeviceUnavailable, UnsupportedModel
from normlab.host.limits import usable_cores
from normlab.ipu_check import OpCheck
from normlab.ipu_check.jobs import check_for_training
from normlab.specs.jobs import JobSpec
from normlab.training.accelerator import Probe

_RUNTIMES = {
    "hardware": "poptorch-hardware",
    "ipu_model": "poptorch-ipu-model",
    "emulated": "host-emulation",
}


def open_device(spec: JobSpec, threads: Optional[int] = None) -> IpuAccelerator:
    """
    Open the runtime that *spec* names, without falling back to another.

    Raises:
        DeviceUnavailable: it is not available here; the message has the reason.
    """
    library = _library(spec.ipu_runtime, spec.replicas)
    return IpuAccelerator(spec, library, spec.threads or threads)


class IpuAccelerator:
    """
    One or more IPUs with one replica of the model on each, or their simulation or emulation.

    Args:
        spec: the job, whose `ipu_runtime` was opened.
        library: `poptorch`, or the emulation with the same names.
        threads: the threads for operators on the host.
    """

    kind = "ipu"

    def __init__(self, spec: JobSpec, library: Any, threads: Optional[int]) -> None:
        self._spec = spec
        self.library = library
        self._threads = threads
        self.runtime = _RUNTIMES[spec.ipu_runtime]
        self.timing_valid = spec.ipu_runtime == "hardware"

    def probe(self) -> Probe:
        """Describe the runtime, which is available because it was opened."""
        return Probe(
            available=True,
            reason=f"runtime {self._spec.ipu_runtime!r} was asked for, and is here",
            description=_description(self._spec, self.library),
            memory_bytes=None,
            versions={
                self._named("poptorch"): self.library.__version__,
                "torch": torch.__version__,
                "python": platform.python_version(),
            },
            facts=_facts(self._spec, self.library),
        )

    @contextmanager
    def session(self, model: nn.Module, spec: JobSpec) -> Iterator[IpuSession]:
        """Train *model* as a compiled program; on exit, its weights are back on the host."""
        norms.plain_operators(model)
        verdict = check_for_training(model, spec)
        if not verdict.passes:
            raise UnsupportedModel(_refusal(verdict))
        with self._host(spec), translated(self.library):
            session = IpuSession(self.library, model, spec)
            try:
                yield session
            finally:
                try:
                    session.close()
                finally:
                    norms.plain_operators(model, on=False)

    def _named(self, library: str) -> str:
        return f"{library} (emulated)" if self._spec.ipu_runtime == "emulated" else library

    def _host(self, spec: JobSpec) -> ContextManager[None]:
        emulated = spec.ipu_runtime == "emulated"
        return host_computation(self._threads, spec) if emulated else nullcontext()


def _library(runtime: str, ipus: int) -> Any:
    if runtime == "emulated":
        return importlib.import_module("accelerators.poptorch_emulation")
    try:
        import poptorch
    except (ImportError, AssertionError) as e:  # AssertionError: built for another torch
        raise DeviceUnavailable(
            f"ipu_runtime {runtime!r} needs Graphcore's PopTorch, which cannot be imported ({e}); "
            "use a host with the Poplar SDK, or ask for ipu_runtime 'emulated'"
        ) from e
    if runtime == "hardware" and not poptorch.ipuHardwareIsAvailable(ipus):
        found = f"fewer than {ipus} IPUs" if ipus > 1 else "no IPU"
        raise DeviceUnavailable(
            f"PopTorch finds {found} on this host; ask for ipu_runtime 'ipu_model' or 'emulated' "
            "to run without one"
        )
    return poptorch


def _description(spec: JobSpec, library: Any) -> str:
    ipus = f"{spec.replicas} IPU{'s' if spec.replicas > 1 else ''}"
    if spec.ipu_runtime == "emulated":
        return f"{ipus}, emulated on the host ({platform.machine()}, {usable_cores()} cores)"
    if spec.ipu_runtime == "ipu_model":
        return f"{ipus} of Graphcore's IPU Model"
    return f"{ipus}, Mk{library.ipuHardwareVersion()}"


def _facts(spec: JobSpec, library: Any) -> Dict[str, Any]:
    return {
        "device_iterations": 1,
        "gradient_accumulation": spec.gradient_accumulation,
        "replicas": spec.replicas,
        "micro_batch": spec.batch_size,
        "reduction": "mean",
        "output_mode": "sum",
        "not_modelled": _not_modelled(spec, library),
    }


def _not_modelled(spec: JobSpec, library: Any) -> List[str]:
    if spec.ipu_runtime == "ipu_model":
        return ["throughput and latency", "replicas", "the executable cache"]
    return list(getattr(library, "NOT_MODELLED", ()))


def _refusal(verdict: OpCheck) -> str:
    return f"{verdict.message}; use device 'cpu' or 'cuda'"
