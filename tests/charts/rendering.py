"""
Render the chart with Helm's own engine: values by name on standard input, results on the output.

A process of its own, because the engine is a Go library, which brings threads and signal handlers.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import helm_python

CHART = Path(__file__).parents[2] / "charts" / "normlab"


def _rendered(values: dict[str, Any]) -> dict[str, Any]:
    with helm_python.Chart.load(CHART) as chart:
        try:
            chart.validate_schema(values)
            return {"files": chart.render(values, name="lab", namespace="research")}
        except helm_python.HelmError as e:
            return {"error": str(e)}


def main() -> None:
    """Answer with the linter's report and each set of values' files or error."""
    asked = json.load(sys.stdin)
    report = helm_python.lint(CHART, next(iter(asked.values())), strict=True)
    rendered = {name: _rendered(values) for name, values in asked.items()}
    json.dump({"lint": report, "rendered": rendered}, sys.stdout)


if __name__ == "__main__":
    main()
