"""Triton kernels for the engine's passes; only `engine_triton` imports this package.

Each pass is one launch. It reads data in their own precision and layout, and adds in the precision
of the statistics: float64 for float64, and float32 for all others.
"""

from normlab.norms.triton_kernels.compiling import is_interpreted
from normlab.norms.triton_kernels.control import control
from normlab.norms.triton_kernels.deviations import (
    Deviations,
    Rule,
    deviation_gradients,
    deviations,
)
from normlab.norms.triton_kernels.gates import MOST_CHANNELS, gated, gated_slopes
from normlab.norms.triton_kernels.gradient_sums import two_dots
from normlab.norms.triton_kernels.keeping import keep
from normlab.norms.triton_kernels.layer_scaling import scale_layers, scaling_slopes
from normlab.norms.triton_kernels.layout import dense
from normlab.norms.triton_kernels.maps import affine, combine
from normlab.norms.triton_kernels.proxies import proxied, proxied_slopes
from normlab.norms.triton_kernels.row_moments import moments
from normlab.norms.triton_kernels.running_scan import Scanned, scan_statistics
from normlab.norms.triton_kernels.solve_step import (
    Solving,
    channel_sums,
    moment_slopes,
    pool_sums,
    pooled,
    ratio_slopes,
    softmax,
    solve,
    sparsestmax,
)
from normlab.norms.triton_kernels.streams import Terms, close, stream
from normlab.norms.triton_kernels.swish_sums import swish_slopes, swish_sums
from normlab.norms.triton_kernels.swishes import swish_gradient, swished
from normlab.norms.triton_kernels.tanhs import tanh_gradients, tanhed
from normlab.norms.triton_kernels.tracking import track

__all__ = [
    "MOST_CHANNELS",
    "Deviations",
    "Rule",
    "Scanned",
    "Solving",
    "Terms",
    "affine",
    "channel_sums",
    "close",
    "combine",
    "control",
    "dense",
    "deviation_gradients",
    "deviations",
    "gated",
    "gated_slopes",
    "is_interpreted",
    "keep",
    "moment_slopes",
    "moments",
    "pool_sums",
    "pooled",
    "proxied",
    "proxied_slopes",
    "ratio_slopes",
    "scale_layers",
    "scaling_slopes",
    "scan_statistics",
    "softmax",
    "solve",
    "sparsestmax",
    "stream",
    "swish_gradient",
    "swish_slopes",
    "swish_sums",
    "swished",
    "tanh_gradients",
    "tanhed",
    "track",
    "two_dots",
]
