"""Base images are pinned by what a registry says; here, one on the loopback interface."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib import util
from pathlib import Path
from types import ModuleType

import httpx
import pytest
import yaml

from tests.answering import Answers, answering

ROOT = Path(__file__).parents[2]
OLD, NEW = "sha256:" + 64 * "0", "sha256:" + 64 * "1"
DIGEST = "sha256:[0-9a-f]{64}"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = util.spec_from_file_location("pin", ROOT / "docker" / "pin.py")
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Registry(Answers):
    """Knows `team/base:1`, for those that fetch a token first."""

    def do_HEAD(self) -> None:
        if self.headers.get("Authorization") != "Bearer a-token":
            here = f"http://{self.headers['Host']}/token"
            self._answer(401, {"WWW-Authenticate": f'Bearer realm="{here}",scope="pull"'})
        elif self.path == "/v2/team/base/manifests/1":
            self._answer(200, {"Docker-Content-Digest": NEW})
        else:
            self._answer(404, {})

    def do_GET(self) -> None:
        assert self.path == "/token?scope=pull"
        self._answer(200, {}, json.dumps({"token": "a-token"}).encode())

    def _answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def registry() -> Iterator[str]:
    with answering(Registry) as port:
        yield f"127.0.0.1:{port}"


def test_each_base_image_gets_the_digest_that_its_tag_has_now(
    tool: ModuleType, registry: str
) -> None:
    base = f"{registry}/team/base:1"
    text = f"- ${{A_IMAGE:-{base}}}\n- ${{B_IMAGE:-{base}@{OLD}}}\nimage: normlab-api\n"
    with httpx.Client() as client:
        pinned = tool.pin(text, client)
    assert pinned == text.replace(f"{base}}}", f"{base}@{NEW}}}").replace(OLD, NEW)
    assert [image.digest for image in tool.images(pinned)] == [NEW, NEW]


def test_a_tag_that_the_registry_does_not_know_is_an_error(tool: ModuleType, registry: str) -> None:
    with httpx.Client() as client, pytest.raises(httpx.HTTPStatusError, match="404"):
        tool.pin(f"${{A_IMAGE:-{registry}/team/base:2}}\n", client)


def test_every_image_that_is_not_built_here_is_looked_at(tool: ModuleType) -> None:
    named = {image.name: image for image in tool.images(tool.COMPOSE.read_text())}
    assert set(named) == {"python", "postgres", "redis", "graphcore/pytorch"}
    assert all(image.tag for image in named.values()), "an image without a tag is `latest`"
    services = yaml.safe_load(tool.COMPOSE.read_text())["services"].values()
    used = {service["image"] for service in services}
    assert {u for u in used if not u.startswith("normlab-")} <= {
        f"${{NORMLAB_{name.upper()}_IMAGE:-{named[name]}}}" for name in ("postgres", "redis")
    }
    for file in (ROOT / "docker").glob("*.Dockerfile"):
        (base,) = re.findall(r"^FROM (.+)$", file.read_text(), re.MULTILINE)
        assert base in ("${PYTHON_IMAGE}", "${IPU_IMAGE}"), file


def test_the_images_of_every_stack_have_a_digest(tool: ModuleType) -> None:
    images = tool.images(tool.COMPOSE.read_text())
    loose = {image.name for image in images if not re.fullmatch(DIGEST, image.digest or "")}
    assert loose <= {"graphcore/pytorch"}  # no registry resolves its tag


def test_the_check_names_images_without_a_digest(
    tool: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "compose.yaml"
    monkeypatch.setattr(tool, "COMPOSE", file)
    monkeypatch.setattr("sys.argv", ["pin.py", "--check"])
    file.write_text("${A_IMAGE:-python:3.11}\n")
    assert tool.main() == 1
    assert "python:3.11 has no digest" in capsys.readouterr().out
    file.write_text(f"${{A_IMAGE:-python:3.11@{NEW}}}\n")
    assert tool.main() == 0


def test_a_registry_that_does_not_answer_changes_nothing(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "compose.yaml"
    monkeypatch.setattr(tool, "COMPOSE", file)
    monkeypatch.setattr("sys.argv", ["pin.py"])
    file.write_text(text := "${A_IMAGE:-127.0.0.1:1/team/base:1}\n")
    assert tool.main() == 3
    assert file.read_text() == text
