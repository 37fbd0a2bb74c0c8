"""The audit of pinned packages: what is found, what is not, and a service that knows nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
KNOWN = {"id": "CVE-2024-1", "fix_versions": ["3.1.6"]}


def audit(folder: Path, *vulnerable: str) -> tuple[int, str]:
    """Run the audit of two packages with a service that knows the *vulnerable* ones."""
    program = folder / "pip-audit"
    program.write_text(_FAKE.format(python=sys.executable, known=KNOWN, vulnerable=vulnerable))
    program.chmod(0o755)
    pinned = folder / "pinned.txt"
    pinned.write_text("idna==3.20\ntorch==2.13.0\n")
    command = [sys.executable, str(ROOT / ".ci" / "audit.py"), str(program), str(pinned)]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stdout


_FAKE = """#!{python}
import json, sys
named = open(sys.argv[-1].partition("=")[2]).read().split()
found = [(one, one.partition("==")[0]) for one in named]
print(json.dumps({{"dependencies": [
    {{"name": name, "version": "1", "vulns": [{known!r}] if name in {vulnerable!r} else []}}
    for one, name in found
]}}))
"""


def test_a_package_with_a_known_vulnerability_fails_the_audit_by_name(tmp_path: Path) -> None:
    status, said = audit(tmp_path, "jinja2", "idna")
    assert status == 1
    assert "idna 1: CVE-2024-1, mended in 3.1.6" in said
    assert "torch" not in said


def test_packages_without_known_vulnerabilities_pass(tmp_path: Path) -> None:
    status, said = audit(tmp_path, "jinja2")
    assert (status, said.startswith("audit: 0 of the packages")) == (0, True)


def test_a_service_that_knows_nothing_is_no_clean_audit(tmp_path: Path) -> None:
    status, said = audit(tmp_path)
    assert (status, said.startswith("audit skipped")) == (0, True)


def test_every_dependency_of_an_extra_is_in_the_list_that_is_audited() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = {_name(line) for line in (ROOT / "constraints.txt").read_text().splitlines()}
    extras = project["optional-dependencies"]
    others = {"zoo"}  # in an environment of their own
    asked = {_name(one) for extra in set(extras) - others for one in extras[extra]}
    assert asked <= listed


def _name(line: str) -> str:
    import re

    return re.split(r"[^A-Za-z0-9._-]", line)[0].lower().replace("_", "-").replace(".", "-")
