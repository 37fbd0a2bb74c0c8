"""C++ loops as an alternative to torch's operators, compiled once per machine and on request.

The torch operators are the definition and run everywhere; no installation needs a compiler.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence

import torch

from normlab.errors import DeviceUnavailable
from normlab.host.locks import held

_FLAGS = ["-O3", "-march=native", "-fopenmp", "-fno-math-errno", "-fno-trapping-math"]
_HERE = Path(__file__).parent

_loaded: Dict[str, Any] = {}  # a library can register its operators only once in a process


def load(name: str, sources: Sequence[str], build_directory: Optional[str] = None) -> Any:
    """
    Compile the library *name* if necessary, and return its operators.

    Args:
        name: the library's name, which is also the namespace of its operators.
        sources: names of files in this folder.
        build_directory: folder for the compiled library; None is a folder in torch's cache, which
            differs for each content of the sources, version of torch and processor.

    Raises:
        DeviceUnavailable: there is no compiler, or it fails.
    """
    if name not in _loaded:
        _check_tools(name)
        folder = Path(build_directory) if build_directory else _cache_folder(name)
        with _alone_in(folder):
            _build(name, [str(_HERE / source) for source in sources], folder)
        _loaded[name] = getattr(torch.ops, name)
    return _loaded[name]


def _check_tools(name: str) -> None:
    if shutil.which("ninja") is None or not any(map(shutil.which, ("c++", "g++", "clang++"))):
        raise DeviceUnavailable(
            f"the compiled loops ({name}) need a C++ compiler and ninja on PATH; install both, or "
            "leave the loops out: every layer computes the same in torch's operators"
        )


def _build(name: str, paths: List[str], folder: Path) -> None:
    from torch.utils import cpp_extension

    try:
        cpp_extension.load(
            name,
            paths,
            extra_cflags=_FLAGS,
            build_directory=str(folder),
            is_python_module=False,
        )
    except (RuntimeError, OSError) as e:
        raise DeviceUnavailable(f"the compiled loops ({name}): {e}") from e


def _cache_folder(name: str) -> Path:
    from torch.utils import cpp_extension

    content = hashlib.sha256()
    for path in sorted([*_HERE.glob("*.cpp"), *_HERE.glob("*.h")]):
        content.update(path.read_bytes())
    content.update(" ".join([torch.__version__, _processor(), *_FLAGS]).encode())
    root = Path(cpp_extension.get_default_build_root())
    return root / f"{name}-{content.hexdigest()[:16]}"


def _processor() -> str:
    """Return the processor that -march=native compiles for; machines may share a home directory."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    wanted = ("model name", "flags", "Features")
    return " ".join(sorted({line for line in lines if line.startswith(wanted)}))


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """
    Lock *folder* for this process.

    torch's own lock is a file that remains if its process is killed, and then blocks the others.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with held(folder / "normlab.lock"):
            (folder / "lock").unlink(missing_ok=True)
            yield
    except OSError as e:
        raise DeviceUnavailable(f"the compiled loops cannot be kept in {folder}: {e}") from e
