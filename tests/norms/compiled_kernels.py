"""What runs beside Triton's compiler: it makes a GPU's program of each kernel, without a GPU."""

from __future__ import annotations

import importlib
from typing import Any, Dict, Optional, Tuple

from normlab.norms import engine_triton

DATA_KERNELS = {  # the module of each that reads data
    "moments_kernel": "row_moments",
    "sums_kernel": "gradient_sums",
    "affine_kernel": "maps",
    "combine_kernel": "maps",
    "swished_kernel": "swishes",
    "swish_gradient_kernel": "swishes",
    "swish_sums_kernel": "swish_sums",
    "tanhed_kernel": "tanhs",
    "tanh_gradients_kernel": "tanhs",
}
SOLVING_KERNELS = {  # the module of each that reads statistics
    "pools_kernel": "pooling",
    "pool_sums_kernel": "pooling",
    "solve_kernel": "solving",
    "channel_sums_kernel": "slopes",
    "moment_slopes_kernel": "slopes",
    "softmax_kernel": "ratios",
    "sparsestmax_kernel": "ratios",
    "ratio_slopes_kernel": "ratios",
    "track_kernel": "tracking",
    "gates_kernel": "gates",
    "gate_slopes_kernel": "gates",
    "row_sums_kernel": "gates",
    "stream_kernel": "streams",
    "close_kernel": "streams",
    "proxied_kernel": "proxies",
    "proxied_slopes_kernel": "proxies",
    "swish_slopes_kernel": "swish_sums",
    "parts_kernel": "parts",
    "scan_kernel": "running_scan",
    "layer_scaling_kernel": "layer_scaling",
    "scaling_slopes_kernel": "layer_scaling",
    "control_kernel": "control",
    "keep_kernel": "keeping",
}
DEVIATION_KERNELS = {  # the module of each kernel of norms that divide by a deviation
    "part_sums_kernel": "deviating",
    "part_deviations_kernel": "deviating",
    "deviation_kernel": "deviating",
    "choose_kernel": "choosing",
    "chosen_kernel": "choosing",
    "part_slopes_kernel": "deviating_slopes",
    "deviation_slopes_kernel": "deviating_slopes",
    "deviated_gradient_kernel": "deviating_slopes",
}
DATA = ("x", "y", "g")
SIZES = (
    "channels",
    "positions",
    "samples",
    "rows",
    "first_cells",
    "second_cells",
    "learned_step",
    "length",
    "shared",
    "seen",
    "cells",
    "tiles",
    "columns",
    "groups",
    "part_count",
    "k",
)
COEFFICIENTS = (
    "eps",
    "factor",
    "r_least",
    "r_limit",
    "d_limit",
    "momentum",
    "tolerance",
    "share",
    "gain",
    "decay",
    "constant",
)
OTHER_TYPES = {
    "mean_fixed": "*i1",
    "var_fixed": "*i1",
    "flag": "*i1",
    "flag_2": "*i1",
    "count": "*i64",
    "first_count": "*i64",
    "closed": "*i64",
    **dict.fromkeys(
        ("least", "allowed", "ties", "before", "counts", "state_before", "state"), "*i32"
    ),
}
SCANS = {"scan_kernel": "running_scan", "control_kernel": "control"}  # of one warp
TILE = {"BLOCK_C": 4, "BLOCK_D": 256, "WEIGHT": True, "BIAS": True}
ALL: Dict[str, Any] = {  # the branches that most kernels have
    **dict.fromkeys(("POOLS", "ACT"), 2),
    **dict.fromkeys(("OWN", "MODE", "AFTER"), 1),
    **dict.fromkeys(("CELLS", "VALUES", "CELLS_2", "VALUES_2", "CHANNELS", "SAMPLES", "PARTS"), 32),
    **dict.fromkeys(("WEIGHT", "BIAS", "LEARNED", "REFERENCE", "CHOSEN", "AVERAGED"), True),
    **dict.fromkeys(("UNBIASED", "GATED", "CHECKED", "COUNTED", "IF_ANY", "FOLDED", "EXACT"), True),
    **dict.fromkeys(("SPREAD", "SCALED"), True),
    **dict.fromkeys(("ABOUT_ZERO", "FREEZE"), False),
    "BLOCK": 256,
    "C": 64,
    "K": 3,
}
FORMS: Dict[str, Dict[str, Any]] = {  # and those that exclude them
    "all": {},
    "mean squares": {"ABOUT_ZERO": True, "POOLS": 1, "OWN": 0, "MODE": 0, "EXACT": False},
    "own moments alone": {
        "OWN": 1,
        "POOLS": 0,
        "MODE": 0,
        "BIAS": False,
        "UNBIASED": False,
        "IF_ANY": False,
    },
    "eps outside of the root": {"MODE": 2, "OWN": 0, "WEIGHT": False, "AVERAGED": False},
    "frozen ratios": {"FREEZE": True, "REFERENCE": False, "K": 2, "C": 4, "CHOSEN": False},
    "smooth": {"EXACT": False, "FOLDED": False, "ACT": 3, "CHECKED": False, "COUNTED": False},
    "vectors": {"SPREAD": False, "SCALED": False, "WEIGHT": False, "BIAS": False},
    "rectified": {"EXACT": False, "ACT": 1, "GATED": False, "LEARNED": False},
}
FOLLOWING = {  # activations and what follows them, for kernels that read data
    "nothing": {"ACT": 0, "AFTER": 0},
    "relu": {"ACT": 1, "AFTER": 0},
    "gelu": {"ACT": 3, "AFTER": 0},
    "a floor": {"ACT": 0, "AFTER": 1},
    "silu and a proxy": {"ACT": 2, "AFTER": 2},
    "a limit": {"ACT": 0, "AFTER": 3},
}
_PART = {"BLOCK_C": 4, "BLOCK_D": 256, "BLOCK": 32, "FIRST": 0, "LAST": 3}
DEVIATIONS: Dict[str, Dict[str, Any]] = {  # how norms that divide by a deviation are computed
    "all": {"LARGEST": False, "SOME": False, "RECIPROCAL": False, **_PART, "part_count": 1},
    "a first round": {"LARGEST": True, "SOME": True, "RECIPROCAL": True, **_PART, "LAST": 0},
    "a last round": {"LARGEST": True, "SOME": True, "RECIPROCAL": True, **_PART, "FIRST": 3},
}
ONES = ("first_s", "second_k", "rows", "samples")  # a launch makes constants of the number 1


def program_of(
    name: str, data: str, statistics: str, capability: int, centred: bool, following: str
) -> str:
    """Return the assembler program of a kernel for data and statistics of these types."""
    constants: Dict[str, Any] = {**TILE, "CENTRED": centred, "stride_d": 1, **FOLLOWING[following]}
    return _program(DATA_KERNELS[name], name, data, statistics, constants, capability)


def solving_program_of(name: str, form: str, capability: int) -> str:
    """Return the assembler program of a kernel of the solve step, for one of FORMS."""
    constants = {**ALL, **FORMS[form]}
    if form == "own moments alone":
        constants.update(dict.fromkeys(ONES, 1))
    return _program(SOLVING_KERNELS[name], name, "fp32", "fp32", constants, capability)


def scan_program_of(name: str, data: str, capability: int) -> str:
    """Return the program of a scan over samples as it is launched, without positions or with."""
    constants = {**ALL, "BLOCK": 32, "SPREAD": data == "fp32"}
    if data != "fp32":  # vectors of one number
        constants.update(dict.fromkeys(("channels", "positions", "length"), 1))
    types = {"mean": f"*{data}"}
    return _program(SCANS[name], name, "fp32", "fp32", constants, capability, types, num_warps=1)


def deviation_program_of(name: str, case: str, data: str, capability: int) -> str:
    """Return the assembler program of a kernel for one of DEVIATIONS."""
    affine = case != "a first round"
    constants = {**DEVIATIONS[case], "stride_d": 1, "WEIGHT": affine, "BIAS": affine}
    return _program(DEVIATION_KERNELS[name], name, data, "fp32", constants, capability)


def load_for_a_gpu() -> Tuple[bool, bool]:
    """Return whether the kernels are loaded inside and after the switch."""
    with engine_triton.triton_kernels(True):
        inside = engine_triton.is_loaded()
    return inside, engine_triton.is_loaded()


def _program(
    module: str,
    name: str,
    data: str,
    statistics: str,
    constants: Dict[str, Any],
    capability: int,
    other_types: Optional[Dict[str, str]] = None,
    **options: int,
) -> str:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernel = getattr(importlib.import_module(f"normlab.norms.triton_kernels.{module}"), name)
    types = {n: _type(n, data, statistics, n in constants) for n in kernel.arg_names}
    types.update(other_types or {})
    given = {(kernel.arg_names.index(n),): v for n, v in constants.items() if n in types}
    source = ASTSource(kernel, types, given, _aligned(kernel.arg_names, types))
    program = triton.compile(source, GPUTarget("cuda", capability, 32), options)
    return str(program.asm["ptx"])


def _type(name: str, data: str, statistics: str, constant: bool) -> str:
    if constant:
        return "constexpr"
    if name in COEFFICIENTS:
        return "fp32"
    if name in OTHER_TYPES:
        return OTHER_TYPES[name]
    if name in DATA:
        return f"*{data}"
    is_number = name in SIZES or name.endswith(("_n", "_c", "_s", "_k", "first_g", "second_g"))
    return "i32" if is_number else f"*{statistics}"


def _aligned(names: Any, types: Dict[str, str]) -> Dict[Tuple[int, ...], Any]:
    # as a launch finds them: torch aligns its tensors, and sizes are mostly multiples of 16
    sizes = [n for n in ("positions", "stride_c") if types.get(n) != "constexpr"]
    wide = [i for i, n in enumerate(names) if types[n].startswith("*") or n in sizes]
    return {(i,): [["tt.divisibility", 16]] for i in wide}
