"""The device of layers and jobs in the tests: `NORMLAB_TEST_DEVICE=cuda` moves them to a GPU."""

from __future__ import annotations

import os

DEVICE = os.environ.get("NORMLAB_TEST_DEVICE", "cpu")
