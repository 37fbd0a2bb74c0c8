"""Plugins as their authors would write them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import List, Sequence

from normlab.plugins.describing import Described, to_question, understood
from normlab.plugins.sources import PluginFiles

MY_NORMS = '''
import torch
import normlab
from pydantic import Field
from typing_extensions import Annotated


@normlab.normalizer("dyt_of_mine", batch_independent=True, recurrent=True)
class DyT(torch.nn.Module):
    """tanh(alpha x) with scale and shift (Zhu et al., 2025)."""

    def __init__(self, num_features: int, alpha: Annotated[float, Field(gt=0, le=10)] = 0.5):
        super().__init__()
        self.alpha = torch.nn.Parameter(torch.tensor(float(alpha)))
        self.weight = torch.nn.Parameter(torch.ones(num_features))

    def forward(self, x):
        shape = (1, -1) + (1,) * (x.dim() - 2)
        return torch.tanh(self.alpha * x) * self.weight.view(shape)


@normlab.normalizer("power_of_mine", batch_independent=True)
def power(mean, var, *, eps: float = 1e-5, share: float = 1.0):
    """The root mean square over all channels and positions."""
    scale = (var + mean.square()).mean(1, keepdim=True).add(eps).rsqrt() * share
    return scale, scale * mean
'''

BROKEN = {
    "exits.py": ("import sys; sys.exit(3)", "SystemExit: 3"),
    "leaves.py": ("import os; os._exit(0)", "ended the process"),
    "divides.py": ("1 / 0", "ZeroDivisionError"),
    "loops.py": ("while True: pass", "too long"),
    "allocates.py": ("kept = [bytearray(1 << 30) for _ in range(64)]", "too much memory"),
    "lacks.py": ("import no_such_module", "No module named 'no_such_module'"),
    "silent.py": ("x = 1", "silent.py declares nothing"),
    "taken.py": (
        "import normlab\n@normlab.normalizer('batch')\nclass B:\n"
        "    def __init__(self, num_features: int): ...",
        "'batch' is normlab's own",
    ),
    "bare.py": (
        "import normlab\n@normlab.normalizer('bare')\nclass B:\n"
        "    def __init__(self, num_features, strength): ...",
        "an option needs an annotation",
    ),
    "wide.py": (
        "import normlab\n@normlab.normalizer('wide')\nclass B:\n"
        "    def __init__(self, num_features: int, how: dict = {}): ...",
        "how): ",
    ),
    "first.py": (
        "import normlab\n@normlab.normalizer('first')\nclass B:\n"
        "    def __init__(self, channels: int): ...",
        "the first argument of a normalizer is num_features",
    ),
    "named.py": ("import normlab\nnormlab.normalizer('My Norm')", "'My Norm' is not a name"),
    "syntax.py": ("def (", "SyntaxError"),
}


def source(name: str, text: str) -> PluginFiles:
    return PluginFiles(name, {name: text.encode()})


_DESCRIBE = """
import json, sys, time
from pathlib import Path
import torch
from normlab.host.processes import Forks
from normlab.plugins.describing import asked, described_here

def answer(question, folder):
    (folder / "answer").write_text(json.dumps(described_here(asked(question), folder)))
    return 0

forks = Forks()
for i, question in enumerate(json.load(sys.stdin)):
    folder = Path(sys.argv[1]) / str(i)
    folder.mkdir()
    started = forks.start(lambda: answer(question, folder), 60)
    while started not in forks.ended():
        time.sleep(0.01)
"""


def described(sources: Sequence[PluginFiles], folder: Path) -> List[Described]:
    """Describe each of *sources* in a fork of one process, as the inspecting process does."""
    subprocess.run(
        [sys.executable, "-c", _DESCRIBE, str(folder)],
        input=json.dumps([to_question(one) for one in sources]),
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )
    answers = [folder / str(i) / "answer" for i in range(len(sources))]
    found = [json.loads(one.read_text()) if one.exists() else {} for one in answers]
    return [understood(answer, one) for answer, one in zip(found, sources)]


def mine() -> PluginFiles:
    return source("my_norms.py", MY_NORMS)


def written(folder: Path) -> Path:
    """Write the plugin as a file, and return its path."""
    path = folder / "my_norms.py"
    path.write_text(MY_NORMS)
    return path
