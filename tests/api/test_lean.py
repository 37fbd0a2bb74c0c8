from __future__ import annotations

import json
import subprocess
import sys

_LOADED = (
    "import api.__main__, json, sys;"
    "print(json.dumps([name for name, module in sys.modules.items() if module]))"
)


def test_the_api_process_loads_no_large_library_that_it_does_not_need() -> None:
    said = subprocess.run([sys.executable, "-c", _LOADED], capture_output=True, check=True).stdout
    loaded = {name.partition(".")[0] for name in json.loads(said)}
    assert loaded.isdisjoint({"rich", "pygments", "torch", "scipy", "optuna", "celery", "alembic"})
