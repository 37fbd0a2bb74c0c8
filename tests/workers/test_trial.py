"""Plugins are tried in the interpreter of jobs, each separately."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from normlab.plugins.sources import PluginFiles
from tests.normlab.plugins.authors import BROKEN, mine, source
from workers.job_order import CodeReference


def reference(plugin: PluginFiles, folder: Path) -> CodeReference:
    place = str(plugin.written_below(folder))
    return CodeReference(digest=plugin.digest, name=plugin.name, folder=place)


def test_each_plugin_is_loaded_apart_and_says_what_is_missing(tmp_path: Path) -> None:
    broken = [source(name, BROKEN[name][0]) for name in ("lacks.py", "leaves.py", "exits.py")]
    talks = source("talks.py", mine().files["my_norms.py"].decode() + "\nprint('hello')\n")
    named = [reference(plugin, tmp_path) for plugin in (*broken, talks, mine())]
    done = subprocess.run(
        [sys.executable, "-m", "workers.trial"],
        input=json.dumps([one.model_dump() for one in named]),
        text=True,
        capture_output=True,
        check=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )
    lacks, leaves, exits, talked, good = json.loads(done.stdout).values()
    assert "No module named 'no_such_module'" in lacks
    assert "ended the process" in leaves
    assert exits == "SystemExit: 3"
    assert (talked, good) == ("", "")
