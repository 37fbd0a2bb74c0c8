"""Triton kernels for the engine's passes; only `engine_triton` imports this package.

Each pass is one launch. It reads data in their own precision and layout, and adds in the precision
of the statistics: float64 for float64, and float32 for all others.
"""

from normlab.norms.triton_kernels.compiling import is_interpreted
from normlab.norms.triton_kernels.gradient_sums import two_dots
from normlab.norms.triton_kernels.layout import dense
from normlab.norms.triton_kernels.maps import affine, combine
from normlab.norms.triton_kernels.row_moments import moments

__all__ = ["affine", "combine", "dense", "is_interpreted", "moments", "two_dots"]
