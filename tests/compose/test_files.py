"""compose.yaml, .env.example and the Dockerfiles agree with each other and with the code."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Dict, List

import pytest
import yaml

from service.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "compose.yaml").read_text()
SERVICES: Dict[str, Dict[str, Any]] = yaml.safe_load(COMPOSE)["services"]
SECRETS = {"POSTGRES_PASSWORD", "REDIS_PASSWORD", "NORMLAB_TOKEN"}
DOCKERFILES = sorted(path.name for path in (ROOT / "docker").glob("*.Dockerfile"))


def test_the_example_names_each_variable_with_its_default() -> None:
    named = dict(re.findall(r"^#?([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.M))
    asked = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", COMPOSE))
    assert set(named) == asked
    defaults = dict(re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", COMPOSE))
    assert set(defaults) == asked - SECRETS
    for name in ("datasets", "plugins"):  # the default is a volume, the example is a folder
        example = named.pop(f"NORMLAB_{name.upper()}")
        assert (example, defaults.pop(f"NORMLAB_{name.upper()}")) == (f"/srv/{name}", name)
    for name in ("python", "postgres", "redis", "ipu"):  # the example is a mirror
        default = defaults.pop(f"NORMLAB_{name.upper()}_IMAGE")
        example = named.pop(f"NORMLAB_{name.upper()}_IMAGE")
        assert default.startswith(example.removeprefix("mirror.example/"))
    assert {k: v for k, v in named.items() if k not in SECRETS} == defaults


@pytest.mark.parametrize("secret", sorted(SECRETS))
def test_no_secret_has_a_default(secret: str) -> None:
    assert f"\n{secret}=\n" in (ROOT / ".env.example").read_text()
    for use in re.findall(rf"(?<!\$)\${{{secret}([^}}]*)}}", COMPOSE):
        assert use == "" or use.startswith(":?"), use
    assert (
        f"${{{secret}:?" in COMPOSE
    )  # one required use is enough, because the file is read as a whole


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_gets_only_variables_that_its_settings_know(name: str) -> None:
    known = {f"NORMLAB_{field.upper()}" for field in Settings.model_fields}
    told = set(SERVICES[name].get("environment", {}))
    assert {variable for variable in told if variable.startswith("NORMLAB_")} <= known


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_has_limits_and_only_the_rights_that_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert service["logging"]["options"]["max-size"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert name == "postgres" or service["cap_drop"] == [
        "ALL"
    ]  # its first start changes file owners
    assert service["restart"] == "no" or service["healthcheck"]["test"]


@pytest.mark.parametrize("name", DOCKERFILES)
def test_all_files_that_an_image_copies_are_sent_to_the_engine(name: str) -> None:
    lines = re.findall(r"^COPY (.+) \S+$", (ROOT / "docker" / name).read_text(), re.M)
    copied = [source for line in lines for source in line.split() if source != "."]
    assert copied
    for source in copied:
        assert (ROOT / source).exists(), source
        assert any(fnmatch(source, allowed) for allowed in _sent()), source


def test_all_files_of_the_wheel_are_sent_to_the_engine() -> None:
    import tomllib

    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())
    target = wheel["tool"]["hatch"]["build"]["targets"]["wheel"]
    parts = {*target["packages"], *target["force-include"], wheel["project"]["readme"], "LICENSE"}
    assert parts <= set(_sent())


def _sent() -> List[str]:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return [line[1:] for line in lines if line.startswith("!")]
