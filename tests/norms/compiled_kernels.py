"""What runs beside Triton's compiler: it makes a GPU's program of each kernel, without a GPU."""

from __future__ import annotations

import importlib
from typing import Any, Dict, Tuple

from normlab.norms import engine_triton

KERNELS = {  # the module of each
    "moments_kernel": "row_moments",
    "sums_kernel": "gradient_sums",
    "affine_kernel": "maps",
    "combine_kernel": "maps",
}
DATA = ("x", "y", "g")
NUMBERS = ("channels", "positions")
TILE = {"BLOCK_C": 4, "BLOCK_D": 256}


def program_of(name: str, data: str, statistics: str, capability: int, centred: bool) -> str:
    """Return the assembler program of a kernel for data and statistics of these types."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    module = importlib.import_module(f"normlab.norms.triton_kernels.{KERNELS[name]}")
    kernel = getattr(module, name)
    constants: Dict[str, Any] = {**TILE, "CENTRED": centred, "stride_d": 1}
    types = {n: _type(n, data, statistics, n in constants) for n in kernel.arg_names}
    given = {(kernel.arg_names.index(n),): v for n, v in constants.items() if n in types}
    source = ASTSource(kernel, types, given, _aligned(kernel.arg_names, types))
    program = triton.compile(source, GPUTarget("cuda", capability, 32))
    return str(program.asm["ptx"])


def load_for_a_gpu() -> Tuple[bool, bool]:
    """Return whether the kernels are loaded inside and after the switch."""
    with engine_triton.triton_kernels(True):
        inside = engine_triton.is_loaded()
    return inside, engine_triton.is_loaded()


def _type(name: str, data: str, statistics: str, constant: bool) -> str:
    if constant:
        return "constexpr"
    if name in DATA:
        return f"*{data}"
    is_number = name in NUMBERS or name.endswith(("_n", "_c"))
    return "i32" if is_number else f"*{statistics}"


def _aligned(names: Any, types: Dict[str, str]) -> Dict[Tuple[int, ...], Any]:
    # as a launch finds them: torch aligns its tensors, and sizes are mostly multiples of 16
    wide = [
        i for i, n in enumerate(names) if types[n].startswith("*") or n in ("positions", "stride_c")
    ]
    return {(i,): [["tt.divisibility", 16]] for i in wide}
