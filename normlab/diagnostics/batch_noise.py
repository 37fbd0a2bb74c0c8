"""Observers of the effect of noisy batch statistics on the gradient and on the loss."""

from __future__ import annotations

from normlab.diagnostics.gradient_bias import measure_gradient_bias
from normlab.diagnostics.moment import Moment, Observer
from normlab.diagnostics.regularization import measure_regularization
from normlab.diagnostics.sites import normalizer_sites
from normlab.errors import InvalidSpec

_GRADIENT_SAMPLES = 256
_LOSS_SAMPLES = 512
_BATCH_SIZES = (4, 8, 16, 32)


class GradientBiasObserver(Observer):
    """Reports the error of the average gradient over batches of the job's size."""

    def at_end(self, moment: Moment) -> None:
        """Take gradients of test samples, on copies."""
        size = moment.batch_size
        x, y = moment.test(max(_GRADIENT_SAMPLES, 2 * size))
        if len(x) < 2 * size or not normalizer_sites(moment.model):
            return
        try:
            found = measure_gradient_bias(moment.model, moment.loss, x, y, size)
        except InvalidSpec:  # the gradient is zero, so there is nothing to compare
            return
        moment.metrics("gradient_bias", vars(found))


class RegularizationObserver(Observer):
    """Reports the rise of the loss by batch noise at several batch sizes, and a fit over them."""

    def at_end(self, moment: Moment) -> None:
        """Compare losses of test samples, on copies."""
        x, y = moment.test(_LOSS_SAMPLES)
        sizes = [size for size in _BATCH_SIZES if 2 * size <= len(x)]
        if len(sizes) < 2 or not normalizer_sites(moment.model):
            return
        found = measure_regularization(moment.model, moment.loss, x, y, sizes)
        values = {f"rise_{m}": rise for m, rise in zip(found.batch_sizes, found.rises)}
        values.update(slope=found.slope, intercept=found.intercept, fit=found.fit)
        if found.exponent is not None:
            values["exponent"] = found.exponent
        moment.metrics("regularization", values)
