"""Base images are pinned by what a registry says; here, one on the loopback interface."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import util
from pathlib import Path
from types import ModuleType

import httpx
import pytest

from tests.answering import Answers, answering

ROOT = Path(__file__).parents[2]
OLD, NEW = "sha256:" + 64 * "0", "sha256:" + 64 * "1"


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
    text = f"FROM {base}\nCOPY . .\n    image: {base}@{OLD}\n    image: normlab-api\n"
    with httpx.Client() as client:
        pinned = tool.pin(text, client)
    assert pinned == text.replace(f"{base}\n", f"{base}@{NEW}\n").replace(OLD, NEW)
    assert [image.digest for image in tool.images(pinned)] == [NEW, NEW]


def test_a_tag_that_the_registry_does_not_know_is_an_error(tool: ModuleType, registry: str) -> None:
    with httpx.Client() as client, pytest.raises(httpx.HTTPStatusError, match="404"):
        tool.pin(f"FROM {registry}/team/base:2\n", client)


def test_every_image_that_is_not_built_here_is_looked_at(tool: ModuleType) -> None:
    named = {
        str(i).partition("@")[0] for path in tool.files() for i in tool.images(path.read_text())
    }
    assert {name.partition(":")[0] for name in named} == {
        "python", "postgres", "redis", "graphcore/pytorch",
    }  # fmt: skip
    assert all(":" in name for name in named), "an image without a tag is `latest`"


def test_the_check_names_images_without_a_digest(
    tool: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "one.Dockerfile"
    monkeypatch.setattr(tool, "files", lambda: [file])
    monkeypatch.setattr("sys.argv", ["pin.py", "--check"])
    file.write_text("FROM python:3.11\n")
    assert tool.main() == 1
    assert "one.Dockerfile: python:3.11 has no digest" in capsys.readouterr().out
    file.write_text(f"FROM python:3.11@{NEW}\n")
    assert tool.main() == 0
