"""Where layers and jobs of the tests compute: `NORMLAB_TEST_DEVICE=cuda` moves them to a GPU."""

from __future__ import annotations

import os

DEVICE = os.environ.get("NORMLAB_TEST_DEVICE", "cpu")
