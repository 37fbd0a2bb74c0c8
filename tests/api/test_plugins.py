"""Code over HTTP: only people with permission upload it, and no process of the service runs it."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from api.main import create_app
from normlab.cli.application import run
from normlab.plugins.loading import load
from service.jobs.doorbell import SilentDoorbell
from service.plugins import store
from service.settings import Settings
from service.store.database import Database
from tests.api.conftest import OPERATORS_TOKEN, a_job
from tests.api.serving import serve
from tests.normlab.plugins.authors import BROKEN, MY_NORMS, mine, source, written
from tests.normlab.plugins.own_networks import JOB as NETS, my_nets
from tests.normlab.plugins.test_options_of_measures import WITH_OPTIONS
from tests.tokens import create_token

pytestmark = pytest.mark.usefixtures("no_plugins")
UPLOAD = {"name": "my_norms.py", "files": {"my_norms.py": MY_NORMS}}
MINE = {"kind": "dyt_of_mine", "alpha": 0.8}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """With a process that describes plugins."""
    return settings.model_copy(update={"inspector_socket": None})


@pytest.fixture
def uploaded(client: httpx.Client) -> str:
    answer = client.post("/v1/plugins", json=UPLOAD)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["digest"])


def test_an_upload_says_what_it_adds_and_the_same_content_is_the_same_plugin(
    client: httpx.Client, uploaded: str
) -> None:
    assert uploaded == mine().digest
    again = client.post("/v1/plugins", json={**UPLOAD, "name": "other.py"})
    assert again.status_code == 200
    assert again.json()["name"] == "my_norms.py"
    names = [entry["name"] for entry in again.json()["entries"]]
    assert names == ["dyt_of_mine", "power_of_mine"]
    source = client.get(f"/v1/plugins/{uploaded}/source").json()
    assert source["files"] == UPLOAD["files"]


def test_a_job_uses_what_it_names_and_no_other_job_does(
    client: httpx.Client, uploaded: str
) -> None:
    job = {**a_job(), "normalizer": MINE}
    refused = client.post("/v1/jobs", json=job)
    assert refused.status_code == 422
    assert "'dyt_of_mine' is unknown" in refused.json()["errors"][0]["rule"]
    created = client.post("/v1/jobs", json={**job, "code": [uploaded]})
    assert created.status_code == 202, created.text
    seen = client.get(f"/v1/jobs/{created.json()['id']}").json()
    assert seen["spec"]["normalizer"] == MINE
    assert seen["spec"]["code"] == [uploaded]


def test_a_kind_of_ones_own_is_known_to_a_list_before_it_has_a_job(
    url: str, uploaded: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--url", url, "--token", OPERATORS_TOKEN, "ls", "--normalizer"]
    assert run([*asked, "dyt_of_mine"]) == 0
    assert "no jobs found" in capsys.readouterr().err
    assert run([*asked, "dyt_of_yours"]) == 2
    assert "the nearest are dyt_of_mine" in capsys.readouterr().err


def test_options_of_an_upload_are_checked_at_the_door(client: httpx.Client, uploaded: str) -> None:
    for wrong, rule in ((0, "greater than 0"), ("x", "a number")):
        job = {**a_job(), "normalizer": {**MINE, "alpha": wrong}, "code": [uploaded]}
        (error,) = client.post("/v1/jobs", json=job).json()["errors"]
        assert error["field"] == "normalizer.alpha"
        assert rule in error["rule"]


def test_a_study_compares_a_layer_of_ones_own_with_others(
    client: httpx.Client, uploaded: str
) -> None:
    study = {
        "name": "mine and theirs",
        "base": {"dataset": {"name": "digits"}, "code": [uploaded]},
        "axes": {"normalizer": ["batch", MINE, "power_of_mine"], "batch_size": [2, 8]},
    }
    created = client.post("/v1/studies", json=study)
    assert created.json()["cells"] == 6, created.text
    jobs = client.get("/v1/jobs").json()["jobs"]
    details = [client.get(f"/v1/jobs/{job['id']}").json()["spec"] for job in jobs]
    codes = {spec["normalizer"]["kind"]: spec["code"] for spec in details}
    assert codes == {"batch": [], "dyt_of_mine": [uploaded], "power_of_mine": [uploaded]}


def test_a_digest_that_nobody_uploaded_is_refused(client: httpx.Client) -> None:
    (error,) = client.post("/v1/jobs", json={**a_job(), "code": ["0" * 64]}).json()["errors"]
    assert error["field"].startswith("code")
    assert "upload its source first" in error["rule"]
    assert client.get(f"/v1/plugins/{'0' * 64}/source").status_code == 404


@pytest.mark.parametrize("name", ["exits.py", "taken.py"])
def test_code_that_fails_is_refused_with_its_reason_and_nothing_is_kept(
    client: httpx.Client, name: str
) -> None:
    text, reason = BROKEN[name]
    answer = client.post("/v1/plugins", json={"name": name, "files": {name: text}})
    assert answer.status_code == 422
    assert reason in answer.json()["detail"]
    assert client.get("/v1/plugins").json()["plugins"] == []


@pytest.mark.parametrize(
    ("upload", "field"),
    [
        ({"name": "a.py", "files": {}}, "files"),
        ({"name": "a.py", "files": {"../a.py": "x"}}, "files"),
        ({"name": "a.py", "files": {"a.txt": "x"}}, "files"),
        ({"name": "a\u202e.py", "files": {"a.py": "x"}}, "name"),
        ({"name": "a.py", "files": {"a\x00.py": "x"}}, "files"),
        ({"name": "a.py", "files": {"a.py": 3}}, "files"),
    ],
)
def test_an_upload_that_is_no_plugin_is_422_with_the_field(
    client: httpx.Client, upload: object, field: str
) -> None:
    answer = client.post("/v1/plugins", json=upload)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"].startswith(field)


def test_code_of_a_person_who_may_not_upload_is_refused_with_the_way_out(
    settings: Settings, database: Database
) -> None:
    asked = settings.model_copy(update={"allow_code": "ada, eve"})
    with serve(create_app(asked, SilentDoorbell())) as url:
        for owner, status in (("bob", 403), ("ada", 201)):
            headers = {"Authorization": f"Bearer {create_token(database, owner, ['submit'])}"}
            answer = httpx.post(f"{url}/v1/plugins", json=UPLOAD, headers=headers, timeout=60)
            assert answer.status_code == status
            if status == 403:
                assert "NORMLAB_ALLOW_CODE" in answer.json()["detail"]


def test_the_operators_plugins_are_in_the_catalogue_the_forms_and_the_schema(
    settings: Settings, tmp_path: Path
) -> None:
    bad = tmp_path / "divides.py"
    bad.write_text(BROKEN["divides.py"][0])
    given = settings.model_copy(update={"plugins": f"{written(tmp_path)}:{bad}"})
    app: FastAPI = create_app(given, SilentDoorbell())
    assert settings.token is not None
    headers = {"Authorization": f"Bearer {settings.token.get_secret_value()}"}
    with serve(app) as url, httpx.Client(base_url=url, headers=headers, timeout=60) as client:
        kinds = {kind["kind"]: kind for kind in client.get("/v1/normalizers").json()}
        assert kinds["dyt_of_mine"]["options"][0]["above"] == 0
        assert "dyt_of_mine" in client.get("/jobs/new").text
        assert "dyt_of_mine" in client.get("/openapi.json").text
        assert client.post("/v1/jobs", json={**a_job(), "normalizer": MINE}).status_code == 202
        found = client.get("/v1/plugins").json()
        assert [plugin["name"] for plugin in found["plugins"]] == ["my_norms.py"]
        page = client.get("/normalizers").text
        assert "From the plugin my_norms.py." in page
        assert "The plugin divides.py cannot be used: ZeroDivisionError" in page
        (trouble,) = found["troubles"]
        assert trouble["name"] == "divides.py"
        assert "1 / 0" in trouble["traceback"]


def test_without_a_process_that_describes_them_the_api_starts_and_says_so(
    settings: Settings, tmp_path: Path
) -> None:
    nobody = {"inspector_socket": tmp_path / "nobody", "plugins": str(written(tmp_path))}
    app = create_app(settings.model_copy(update=nobody), SilentDoorbell())
    assert settings.token is not None
    headers = {"Authorization": f"Bearer {settings.token.get_secret_value()}"}
    with serve(app) as url, httpx.Client(base_url=url, headers=headers, timeout=60) as client:
        (trouble,) = client.get("/v1/plugins").json()["troubles"]
        assert "no process here describes plugins" in trouble["reason"]
        assert client.post("/v1/jobs", json=a_job()).status_code == 202
        assert client.post("/v1/plugins", json=UPLOAD).status_code == 503


def test_networks_datasets_metrics_and_hooks_of_an_upload_are_known_to_its_jobs(
    client: httpx.Client, database: Database, tmp_path: Path
) -> None:
    """Those of the operator are in force everywhere; these are not."""
    digests = []
    for plugin in (my_nets(), source("mine.py", WITH_OPTIONS)):
        described = load(plugin.written_below(tmp_path), plugin.name)
        with database.begin() as connection:
            store.keep(connection, plugin, described, owner="ada", origin={})
            store.show(connection, plugin.digest, "default", "ada", {})
        digests.append(plugin.digest)
    hooks = [{"name": "set_weights", "to": 0.5}]
    job = {**a_job(), **NETS, "metrics": ["val/top2"], "hooks": hooks, "code": digests}
    created = client.post("/v1/jobs", json=job)
    assert created.status_code == 202, created.text
    base = {name: value for name, value in job.items() if name != "normalizer"}
    study = {"name": "s", "base": base, "axes": {"normalizer": ["batch", "group"]}}
    preview = client.post("/v1/studies:preview", json=study).json()
    assert (preview["cells"], preview["refused"]) == (2, [])
    assert client.post("/v1/studies", json=study).status_code == 202
    wrong = {**job, "batch_size": 4, "model": {"name": "tower_of_mine", "width": 3}}
    (error,) = client.post("/v1/jobs", json=wrong).json()["errors"]
    assert error["field"] == "model.width"
