"""
Create runs on an MLflow server, over its REST interface.

This module uses httpx, which the client needs anyway. For its five requests, mlflow-skinny would
install twenty packages and pin protobuf, which TensorBoard's files depend on too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, Optional
from urllib.parse import urlsplit

import httpx

from normlab.errors import InvalidSpec, ServiceUnavailable
from normlab.exports.run import Run
from normlab.not_finite import name_of
from normlab.stacks.proxies import http_client, why_silent

_API = "/api/2.0/mlflow/"
_MOST_METRICS, _MOST_PARAMS = 1000, 100  # in one log-batch request, from MLflow's documentation
_LONGEST_PARAM = 6000
_TAG = "normlab.job"
_STATUS = {"succeeded": "FINISHED", "failed": "FAILED", "cancelled": "KILLED"}


class MlflowServer:
    """
    An MLflow tracking server.

    Args:
        url: the server's address, which may contain a user and a password.
        http: another httpx transport, for tests.
    """

    def __init__(self, url: str, http: Optional[httpx.BaseTransport] = None) -> None:
        self.url = url.rstrip("/")
        if urlsplit(self.url).scheme not in ("http", "https"):
            raise InvalidSpec(
                f"{url!r} is not the address of an MLflow server, such as http://HOST:PORT"
            )
        self._http = http_client(self.url, transport=http, timeout=httpx.Timeout(60))

    def __enter__(self) -> MlflowServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def write(self, run: Run, experiment: str, files: Iterable[Path] = ()) -> str:
        """
        Create an MLflow run for *run* in *experiment*, and return its id.

        The run of an earlier export of the same job is deleted once the new one is complete.

        Raises:
            ServiceUnavailable: the server does not answer.
            InvalidSpec: the server refuses; the message is the server's.
        """
        place = self._experiment(experiment)
        earlier = list(self._runs_of(place, run.job.id))
        info = self._created(place, run)
        for batch in _batches(run):
            self._post("runs/log-batch", {"run_id": info["run_id"], **batch})
        for file in files:
            self._upload(info["artifact_uri"], file)
        self._finish(info["run_id"], run)
        for old in earlier:
            self._post("runs/delete", {"run_id": old})
        return str(info["run_id"])

    def _experiment(self, name: str) -> str:
        query = {"experiment_name": name}
        answer = self._send("GET", _API + "experiments/get-by-name", params=query)
        if answer.status_code == 404:
            return str(self._post("experiments/create", {"name": name})["experiment_id"])
        found: Dict[str, Any] = _good(answer).json()["experiment"]
        if found.get("lifecycle_stage") == "deleted":
            raise InvalidSpec(f"experiment {name!r} is deleted on {self.url}; restore it there")
        return str(found["experiment_id"])

    def _runs_of(self, experiment: str, job: str) -> Iterator[str]:
        body = {"experiment_ids": [experiment], "filter": f"tags.`{_TAG}` = '{job}'"}
        for found in self._post("runs/search", body).get("runs", []):
            yield found["info"]["run_id"]

    def _created(self, experiment: str, run: Run) -> Dict[str, Any]:
        job = run.job
        tags = {_TAG: job.id, "normlab.device": job.device, "normlab.owner": job.owner,
                "normlab.runtime": job.runtime or "", "normlab.study": job.study or "",
                "normlab.packed": str(job.packed or "")}  # fmt: skip
        body = {
            "experiment_id": experiment,
            "run_name": run.label,
            "start_time": round((job.started_at or job.created_at).timestamp() * 1000),
            "tags": [{"key": key, "value": value} for key, value in tags.items() if value],
        }
        info: Dict[str, Any] = self._post("runs/create", body)["run"]["info"]
        return info

    def _finish(self, run_id: str, run: Run) -> None:
        body: Dict[str, Any] = {"run_id": run_id, "status": _STATUS.get(run.job.state, "RUNNING")}
        if run.job.finished_at is not None:
            body["end_time"] = round(run.job.finished_at.timestamp() * 1000)
        self._post("runs/update", body)

    def _upload(self, artifact_uri: str, file: Path) -> None:
        uri = urlsplit(artifact_uri)
        if uri.scheme != "mlflow-artifacts":
            raise InvalidSpec(
                f"{self.url} keeps files at {artifact_uri}, which only its own machine can write; "
                "start it with --serve-artifacts, or export without --artifacts"
            )
        path = f"/api/2.0/mlflow-artifacts/artifacts{uri.path}/{file.name}"
        _good(self._send("PUT", path, content=file.read_bytes()))

    def _post(self, path: str, body: Any) -> Dict[str, Any]:
        answer: Dict[str, Any] = _good(self._send("POST", _API + path, json=body)).json()
        return answer

    def _send(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **request)
        except httpx.TransportError as e:
            why = why_silent(e)
            raise ServiceUnavailable(f"no MLflow server answers at {self.url}: {why}") from e


def _batches(run: Run) -> Iterator[Dict[str, Any]]:
    params = [{"key": k, "value": str(v)[:_LONGEST_PARAM]} for k, v in run.settings.items()]
    for i in range(0, len(params), _MOST_PARAMS):
        yield {"params": params[i : i + _MOST_PARAMS]}
    points = list(_points(run))
    for i in range(0, len(points), _MOST_METRICS):
        yield {"metrics": points[i : i + _MOST_METRICS]}


def _points(run: Run) -> Iterator[Dict[str, Any]]:
    for series in run.series.values():
        for step, value, moment in zip(series.steps, series.numbers(), series.times):
            at = round(moment * 1000)
            number = name_of(value) or value  # as text, because JSON has no NaN
            yield {"key": series.name, "value": number, "timestamp": at, "step": step}


def _good(answer: httpx.Response) -> httpx.Response:
    if answer.status_code < 400:
        return answer
    try:
        said = answer.json().get("message", "")
    except ValueError:
        said = "" if "html" in answer.headers.get("Content-Type", "") else answer.text
    failed = answer.status_code >= 500
    # the number is all that its operator can look for if it says nothing
    reason = " ".join(str(said).split())[:300] or f"no reason given (status {answer.status_code})"
    text = f"the MLflow server {'failed' if failed else 'refused'}: {reason}"
    raise ServiceUnavailable(text) if failed else InvalidSpec(text)
