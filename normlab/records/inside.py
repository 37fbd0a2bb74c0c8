"""Inside a network: its layers with their shapes and costs, and their diagnostics."""

from __future__ import annotations

from typing import List, Literal, Union

from pydantic import BaseModel, Field

from normlab.not_finite import DESCRIPTION, Places
from normlab.records.findings import DiagnosticRecord

Number = Union[float, None]
Role = Literal["filter", "normalizer", "join", "other"]


class MatrixRecord(BaseModel):
    """One measure of a diagnostic: a row for each layer, a column for each reading."""

    diagnostic: str
    measure: str = Field(
        description="the measure, such as norm/channel_mean; empty if there is only one"
    )
    sites: List[str] = Field(
        description="names of the layers; an empty name is the network, and `all` is the mean "
        "over the layers"
    )
    steps: List[int] = Field(
        description="number of the update of each reading, or of the first update of each "
        "bucket of readings"
    )
    values: List[List[Number]] = Field(
        description="the value of each layer at each reading; null if it was not read, or if "
        "`not_finite` has it"
    )
    not_finite: Places = Field({}, description=DESCRIPTION)


class InsideRecord(BaseModel):
    """Everything that the diagnostics of a job found."""

    job: str
    state: str
    step: int
    steps_per_epoch: Number = Field(description="null while it is unknown")
    asked: List[str] = Field(description="the diagnostics of the job")
    matrices: List[MatrixRecord]
    findings: List[DiagnosticRecord] = Field(
        description="results that are not a series, such as ablation"
    )


class LayerRecord(BaseModel):
    """One layer of a network, in the order in which a sample passes them."""

    name: str
    role: Role
    type: str = Field(description="the class, with its arguments")
    input: List[int] = Field(description="shape of one sample, as a rule with channels first")
    output: List[int]
    parameters: int
    state: int = Field(description="number of values in its buffers, which training changes")
    products: int = Field(description="number of multiplications for one sample in a forward pass")
    values: int = Field(description="number of values in its output for one sample")
    calls: int = Field(
        description="number of calls in one forward pass; more than 1 in a recurrent network"
    )
    weights_normalized: bool = Field(description="whether a normalizer computes its weights")
    after: List[int] = Field(description="places in this list of the layers whose outputs it takes")


class NetworkRecord(BaseModel):
    """The network of a job as it is built, or why nobody can build it now."""

    layers: List[LayerRecord]
    reason: str = Field("", description="the reason if there are no layers")


class SampleRecord(BaseModel):
    """
    A normalizer at work on a few random values, one entry per value in each list.

    Forward: *y* from *x*. Backward: *dx* is the gradient of *x* where *dy* is that of *y*.
    """

    what: Literal["activations", "weights", "nothing"]
    shape: List[int] = Field(
        description="samples, channels and positions; for weights: 1, filters and n"
    )
    x: List[Number] = []
    y: List[Number] = []
    dy: List[Number] = []
    dx: List[Number] = []
    evaluated: List[Number] = Field([], description="y of the same values in evaluation mode")
    doc: str = Field("", description="the layer's own description, with its formula")
    reason: str = Field("", description="the reason if there are no values")
