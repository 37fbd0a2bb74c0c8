"""
Look up every pinned package in the database of known vulnerabilities, with pip-audit.

    python .ci/audit.py PIP_AUDIT constraints.txt

A service that knows no packages gives the same answer as one that knows no vulnerabilities. So the
script first asks about a package with known vulnerabilities. The exit status is 1 if a pinned
package has vulnerabilities. It is 0 if none has, or if no such service can be reached, which the
output says.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List

# It has had known vulnerabilities for ten years.
_CANARY = "jinja2==2.4.1"


def findings(program: str, requirements: Path) -> List[Dict[str, Any]]:
    """Return the packages of *requirements* with known vulnerabilities; none if it cannot ask."""
    options = ["--format=json", "--disable-pip", "--no-deps", "--progress-spinner=off"]
    command = [program, *options, f"--requirement={requirements}"]
    done = subprocess.run(command, capture_output=True, text=True)
    try:
        report = json.loads(done.stdout)
    except ValueError:  # an error instead of a report
        print(done.stderr.strip()[-500:], file=sys.stderr)
        return []
    return [package for package in report["dependencies"] if package.get("vulns")]


def main() -> int:
    """Print what was found."""
    program, pinned = sys.argv[1], Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        canary = Path(folder) / "canary.txt"
        canary.write_text(f"{_CANARY}\n")
        if not findings(program, canary):
            print(f"audit skipped: no service here knows the vulnerabilities of {_CANARY}")
            return 0
    found = findings(program, pinned)
    for package in found:
        for known in package["vulns"]:
            mended = ", ".join(known["fix_versions"]) or "no version yet"
            print(f"{package['name']} {package['version']}: {known['id']}, mended in {mended}")
    print(f"audit: {len(found)} of the packages in {pinned} have known vulnerabilities")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
