from __future__ import annotations

from pathlib import Path
from typing import Any

import tomllib

TOOLS: dict[str, Any] = tomllib.loads(Path("pyproject.toml").read_text())["tool"]
CONTRACTS: list[dict[str, Any]] = TOOLS["importlinter"]["contracts"]
PACKAGES = set(TOOLS["hatch"]["build"]["targets"]["wheel"]["packages"])


def _of_type(kind: str) -> list[dict[str, Any]]:
    return [contract for contract in CONTRACTS if contract["type"] == kind]


def test_every_package_that_is_installed_is_under_the_import_contract() -> None:
    (order, *_), (acyclic,) = _of_type("layers"), _of_type("acyclic_siblings")
    in_order = {name for layer in order["layers"] for name in layer.split(" | ")}
    assert in_order == set(TOOLS["importlinter"]["root_packages"]) == PACKAGES
    assert set(acyclic["ancestors"]) == PACKAGES


def test_layers_inside_a_package_name_all_of_its_modules() -> None:
    inside = [contract for contract in _of_type("layers") if "containers" in contract]
    assert [contract["containers"] for contract in inside] == [["normlab"], ["service"]]
    assert all(contract["exhaustive"] for contract in inside)


def test_no_package_may_import_a_folder_of_code_that_is_not_installed() -> None:
    folders = {path.parts[0] for path in Path().glob("*/*.py")} - PACKAGES
    forbidden = [set(contract["forbidden_modules"]) for contract in _of_type("forbidden")]
    assert "benchmarks" in folders
    assert {name for name in folders if name.isidentifier()} in forbidden
