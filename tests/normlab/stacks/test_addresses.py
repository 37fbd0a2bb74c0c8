"""A stack's own certificate is found together with its address."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from normlab.host.locks import held
from normlab.stacks.addresses import Address, resolve
from normlab.stacks.connection import Connection, read_connection
from normlab.stacks.running import LOCK_NAME, register_stack

URL = "https://127.0.0.1:8642"


@pytest.mark.parametrize("url", [None, URL])
def test_the_certificate_of_a_running_stack_comes_with_its_address(
    tmp_path: Path, url: str
) -> None:
    Connection(URL, "its token", certificate="/its/cert.pem").write(tmp_path)
    register_stack(tmp_path)
    with held(tmp_path / LOCK_NAME):
        found = resolve(Address(url, None, tmp_path))
        assert found == Connection(URL, "its token", certificate="/its/cert.pem")
        elsewhere = resolve(Address("https://lab.example", "t", tmp_path))
        assert elsewhere.certificate is None


def test_a_file_of_an_earlier_release_has_no_certificate(tmp_path: Path) -> None:
    (tmp_path / "connection.json").write_text(json.dumps({"url": URL, "token": "t"}))
    assert read_connection(tmp_path) == Connection(URL, "t")
