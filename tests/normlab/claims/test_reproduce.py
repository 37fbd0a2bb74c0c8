"""The machinery of claims, on a real stack: studies run, and verdicts come out."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

pytest.importorskip("service.up", reason="the server's packages are not installed")

from normlab.cli.application import run
from normlab.cli.own_stack import own_stack

SETTINGS = {"NORMLAB_PORT": "0", "NORMLAB_SLOTS": "1", "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_claims_run_in_their_quick_form_and_end_with_verdicts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with tempfile.TemporaryDirectory(prefix="normlab-test-") as folder:
        with own_stack(Path(folder) / "data", SETTINGS) as stack:
            where = ["--url", stack.url, "--token", str(stack.token)]
            page = Path(folder) / "claims.md"
            line = ["reproduce", "e", "k", "--quick", "--json", "--page", str(page)]
            assert run([*where, *line]) == 0
            e, k = json.loads(capsys.readouterr().out.split("\n", 1)[1])
        assert [(e["claim"], len(e["effects"])), (k["claim"], len(k["effects"]))] == [
            ("e-norm-correction", 4),
            ("k-priors", 3),
        ]
        corrected = e["effects"][2]
        assert corrected["n"] == 2, corrected
        assert "## e-norm-correction: does not show" in page.read_text(encoding="utf-8")
