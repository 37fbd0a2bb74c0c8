"""Inside a network over HTTP: diagnostics by layer, its layers, a normalizer at work."""

from __future__ import annotations

from json import dumps
from typing import Any, Callable, Dict, Mapping, Optional

from normlab.client.transport import Transport
from normlab.records import InsideRecord, MatrixRecord, NetworkRecord, SampleRecord


class Inside:
    """The part of a Client that looks into networks: `client.inside`."""

    def __init__(self, transport: Transport, job_id: Callable[[str], str]) -> None:
        self._transport = transport
        self._job_id = job_id

    def found(self, job: str, *, most_readings: int = 120) -> InsideRecord:
        """
        Return all that the diagnostics of *job* found, each measure as layers by readings.

        Args:
            job: its id.
            most_readings: if there are more, return this many buckets with their means.
        """
        path = f"/jobs/{self._job_id(job)}/inside"
        params = {"most_readings": most_readings}
        return self._transport.record(InsideRecord, "GET", path, params=params)

    def matrices(self, job: str, *, most_readings: int = 120) -> Dict[str, MatrixRecord]:
        """Return the same measures by name, such as `power/norm/channel_mean`."""
        found = self.found(job, most_readings=most_readings)
        return {"/".join(filter(None, (m.diagnostic, m.measure))): m for m in found.matrices}

    def network(self, job: str) -> NetworkRecord:
        """Return the layers of *job*'s network as it is built: shapes, costs, connections."""
        path = f"/jobs/{self._job_id(job)}/network"
        return self._transport.record(NetworkRecord, "GET", path)

    def sample(
        self, kind: str, options: Optional[Mapping[str, Any]] = None, **given: float
    ) -> SampleRecord:
        """
        Run a kind of normalizer on random values of 8 channels, forward and backward.

        Args:
            kind: its name.
            options: the options of the kind.
            given: samples, side, before, shift, scale, as in `GET /v1/normalizers/{kind}/sample`.

        Raises:
            InvalidSpec: an option is out of range.
            NotFound: there is no such kind.
        """
        params = {"options": dumps(dict(options or {})), **given}
        path = f"/normalizers/{kind}/sample"
        return self._transport.record(SampleRecord, "GET", path, params=params)
