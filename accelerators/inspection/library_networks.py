"""Networks of other libraries: whether they can be built, and the places of their normalizers."""

from __future__ import annotations

import importlib
import importlib.util
import math
import sys
from typing import Any, Dict, Iterator, List, Tuple

from torch import Tensor, nn

from normlab.errors import FieldProblem, InvalidSpec
from normlab.ipu_check.jobs import example, inputs, meta_model
from normlab.nets.loaded_weights import file_hash
from normlab.nets.zoo.packages import package
from normlab.nets.zoo.starting import check_content
from normlab.norms.activation_norm import ActivationNorm
from normlab.norms.conversion_report import ConversionReport
from normlab.specs.jobs import JobSpec
from normlab.specs.models import MODELS
from normlab.specs.registries import named_object
from normlab.specs.sizes import task_of
from normlab.specs.tasks import fits, written
from normlab.specs.zoo import INSTALL, LIBRARIES, ZooOptions

_WEIGHTS = {
    library: f"normlab.nets.zoo.of_{library}:weights_file" for library in ("timm", "torchvision")
}
Met = Tuple[str, Tuple[int, ...]]
"""The name of a normalizer, and the shape of its input."""


def import_libraries() -> None:
    """Import the libraries that are installed here, so that forks need not import them."""
    for library in LIBRARIES.values():
        if importlib.util.find_spec(library.package) is None:
            continue
        importlib.import_module(library.factory.partition(":")[0])
        try:
            package(library.package)
        except InvalidSpec as e:  # jobs that name it get the same error
            print(e, file=sys.stderr, flush=True)


def look_at(spec: JobSpec) -> Dict[str, Any]:
    """
    Build the network of *spec*, run it without data, and return the findings.

    Returns:
        One of: `lacks`, the package that is not installed here; `problems`, the reasons why it
        cannot be trained; `conversion`, the report on its norm layers.
    """
    needed = MODELS[spec.model.name].package
    if needed is not None and importlib.util.find_spec(needed) is None:
        rule = f"{needed} is not installed where jobs run: {INSTALL}"
        return {"lacks": needed, "problems": [["model.name", rule]]}
    reports: List[Any] = []
    try:
        problems = list(_problems(meta_model(spec, reports.append), spec))
    except InvalidSpec as e:
        problems = _of_the_job(e)
    problems = problems or list(_unnamed_weights(spec))
    if problems:
        return {"problems": [[p.field, p.rule] for p in problems]}
    return {"conversion": next(str(r) for r in reports if isinstance(r, ConversionReport))}


def _unnamed_weights(spec: JobSpec) -> Iterator[FieldProblem]:
    """Yield a problem if the job does not name the pretrained weights in the cache here."""
    asked = ZooOptions.model_validate(spec.model.options)
    library, _, name = spec.model.name.partition("/")
    if not asked.pretrained or asked.sha256 is not None or library not in _WEIGHTS:
        return
    try:
        found = file_hash(named_object(_WEIGHTS[library])(name, "refuse"))
    except InvalidSpec:  # they may be on the host where the job will run
        return
    try:
        check_content(found, None, spec.model.name)
    except InvalidSpec as e:
        yield from e.problems


def _of_the_job(error: InvalidSpec) -> List[FieldProblem]:
    """Return the problems of *error*, with those of many layers joined to one."""
    ours = [p for p in error.problems if p.field.partition(".")[0] in ("model", "normalizer")]
    layers = [p for p in error.problems if p not in ours]
    if layers:
        more = f", and {len(layers) - 1} other layers" if len(layers) > 1 else ""
        return [FieldProblem("normalizer", f"{layers[0]}{more}"), *ours]
    return ours or [FieldProblem("model.name", str(error))]


def _problems(model: nn.Module, spec: JobSpec) -> Iterator[FieldProblem]:
    x, _ = example(spec, spec.batch_size)
    met: List[Met] = []
    for name, layer in model.named_modules():
        if isinstance(layer, ActivationNorm):
            layer.register_forward_pre_hook(_noting(name, met))
    try:
        logits = model.train()(x)
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as e:
        said = str(e).strip().splitlines() or [type(e).__name__]
        yield FieldProblem("model.name", f"{spec.model.name} cannot take these samples: {said[0]}")
        return
    expected = (len(x), *task_of(spec).output_shape(*inputs(spec)))
    found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if not isinstance(found, tuple) or not fits(found, expected):
        rule = f"it returns {found} in training, and logits of shape {written(expected)} are needed"
        yield FieldProblem("model.options", f"{rule}; see its options")
    yield from _too_few_values(met, spec)


def _noting(name: str, met: List[Met]) -> Any:
    return lambda _, args: met.append((name, tuple(args[0].shape)))


def _too_few_values(met: List[Met], spec: JobSpec) -> Iterator[FieldProblem]:
    virtual = getattr(spec.normalizer, "virtual_batch_size", None)
    for name, (samples, _, *positions) in met:
        values = (virtual or samples) * math.prod(positions)
        problem = spec.normalizer.problem_with_values(values, 1)
        if problem is not None:
            yield FieldProblem(problem.field, f"{problem.rule} ({spec.model.name}, {name})")
            return
