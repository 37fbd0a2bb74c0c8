"""The table of all kinds of device, with everything that the rest of the code knows about them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Callable, Dict, Literal, Mapping, Optional, Sequence, Tuple


@dataclass(frozen=True)
class PackFacts:
    """
    The way in which a kind of device trains packs.

    Attributes:
        adapter: the module whose `open_packs` opens it for a pack.
        accelerations: the values of `acceleration`, besides "none", that work with packs.
        costs: whether the model of costs predicts the gain; otherwise the process measures it.
        rules: the module:function with further rules for the members of a pack.
    """

    adapter: str
    accelerations: Tuple[str, ...] = ()
    costs: bool = False
    rules: Optional[str] = None


@dataclass(frozen=True)
class DeviceFacts:
    """
    The capabilities of one kind of device, and how workers handle it.

    Attributes:
        kind: its name in a job, in the queue of its workers and in a setting.
        title: its name in a sentence, after "a" or "an".
        adapter: the module whose `open_device` opens it.
        precisions: the precisions for activations.
        replicas: the resources of a replica, in words.
        accelerations: values of `acceleration` besides "none".
        collectives: the backend of torch.distributed between the processes of replicas; None if
            one process holds all replicas.
        owns_units: whether a worker has one unit of the device per slot, and a replica uses one.
        shares_host_memory: whether its memory is that of the host.
        warm_start: whether a job may be forked from a process that has imported torch.
        rounds_to_tf32: whether float32 products may be rounded to TF32.
        steers_weights: whether the host may change weights between two updates.
        simulated: whether `ipu_runtime` may replace it by a simulator.
        traced: whether the model is compiled before it runs; admission checks its operators.
        prefers_small_batches: whether auto chooses it only for small batches.
        calibrated: whether the model of costs tells the time of a job before others have finished.
        caches: environment variables of a job that name a folder in the worker's data folder.
        rules: the module:function with further rules for specifications.
        packs: how it trains packs; None if it does not.
    """

    kind: str
    title: str
    adapter: str
    precisions: Tuple[str, ...]
    replicas: str
    accelerations: Tuple[str, ...] = ()
    collectives: Optional[str] = None
    owns_units: bool = False
    shares_host_memory: bool = False
    warm_start: bool = True
    rounds_to_tf32: bool = False
    steers_weights: bool = True
    simulated: bool = False
    traced: bool = False
    prefers_small_batches: bool = False
    calibrated: bool = False
    caches: Mapping[str, str] = field(default_factory=dict)
    rules: Optional[str] = None
    packs: Optional[PackFacts] = None


def either(words: Sequence[str]) -> str:
    """Join *words* by commas and "or"."""
    return " or ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


DEVICES: Dict[str, DeviceFacts] = {
    facts.kind: facts
    for facts in (
        DeviceFacts(
            kind="cpu",
            title="CPU",
            adapter="accelerators.cpu",
            precisions=("float32", "bfloat16"),
            replicas="a process of the host, gloo",
            accelerations=("kernels",),
            collectives="gloo",
            shares_host_memory=True,
            calibrated=True,
            packs=PackFacts("accelerators.cpu_packs", costs=True),
        ),
        DeviceFacts(
            kind="cuda",
            title="CUDA device",
            adapter="accelerators.cuda",
            precisions=("float32", "bfloat16", "float16"),
            replicas="a GPU of the worker, nccl",
            accelerations=("cuda_graphs", "compile", "triton", "triton_graphs"),
            collectives="nccl",
            owns_units=True,
            rounds_to_tf32=True,
            packs=PackFacts("accelerators.cuda_packs", accelerations=("cuda_graphs",)),
        ),
        DeviceFacts(
            kind="ipu",
            title="IPU",
            adapter="accelerators.ipu",
            precisions=("float32",),
            replicas="an IPU, PopTorch",
            warm_start=False,  # a Poplar device belongs to the process that attached it
            steers_weights=False,
            simulated=True,
            traced=True,
            prefers_small_batches=True,
            # Compiling takes minutes: later attempts reuse the compiled programs.
            caches={"POPTORCH_CACHE_DIR": "executables"},
            rules="normlab.specs.ipu_rules:problems",
            packs=PackFacts(
                "accelerators.ipu_packs",
                costs=True,
                rules="normlab.specs.ipu_rules:problems_in_packs",
            ),
        ),
    )
}
KINDS = tuple(DEVICES)
NAMES = either(KINDS)
if TYPE_CHECKING:
    Kind = str
else:
    Kind = Literal[KINDS]
ACCELERATIONS = ("none", *(a for facts in DEVICES.values() for a in facts.accelerations))
GRAPHED = ("cuda_graphs", "triton_graphs")
"""The accelerations that record an update once and replay it."""
IN_TRITON = ("triton", "triton_graphs")
"""The accelerations that compute normalizers in Triton kernels."""
PRECISIONS = tuple(dict.fromkeys(p for facts in DEVICES.values() for p in facts.precisions))


def those(can: Callable[[DeviceFacts], bool]) -> str:
    """Name the kinds of device that *can* do something, as a text for a message."""
    return either([facts.kind for facts in DEVICES.values() if can(facts)]) or "no device"
