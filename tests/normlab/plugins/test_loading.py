"""A kind that an author declares works like every other kind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import nn

import normlab
from normlab.errors import InvalidSpec
from normlab.norms import make
from normlab.plugins.descriptions import PluginDescription
from normlab.plugins.loading import load, use
from normlab.specs import registries
from normlab.specs.jobs import JobSpec
from normlab.specs.normalizers import BY_KIND
from tests.normlab.plugins.authors import mine, source

pytestmark = pytest.mark.usefixtures("no_plugins")
MINE = {"kind": "dyt_of_mine", "alpha": 0.8}


def loaded(tmp_path: Path) -> PluginDescription:
    found = load(mine().written_below(tmp_path), "my_norms.py")
    use([found])
    return found


def test_its_options_are_the_annotated_arguments_with_their_ranges(tmp_path: Path) -> None:
    found = loaded(tmp_path)
    assert [entry.name for entry in found.entries] == ["dyt_of_mine", "power_of_mine"]
    assert found.entries[0].summary == "tanh(alpha x) with scale and shift (Zhu et al., 2025)."
    assert JobSpec(normalizer=MINE).normalizer.model_dump() == MINE
    with pytest.raises(ValidationError, match="greater than 0"):
        JobSpec(normalizer={**MINE, "alpha": 0})
    with pytest.raises(ValidationError, match="beta"):
        JobSpec(normalizer={**MINE, "beta": 0})


def test_a_description_says_as_much_as_the_code(tmp_path: Path) -> None:
    found = loaded(tmp_path)
    with_the_code = JobSpec(normalizer=MINE)
    use([PluginDescription.model_validate_json(found.model_dump_json())])
    assert JobSpec(normalizer=MINE).fingerprint() == with_the_code.fingerprint()
    assert BY_KIND["dyt_of_mine"].model_json_schema()["properties"]["alpha"] == {
        "default": 0.5,
        "description": "",
        "exclusiveMinimum": 0,
        "maximum": 10,
        "title": "Alpha",
        "type": "number",
    }


def test_a_layer_is_made_for_each_place_with_its_activation_behind_it(tmp_path: Path) -> None:
    loaded(tmp_path)
    x = torch.randn(4, 8, 5, 5)
    torch.testing.assert_close(make(MINE, 8, "relu")(x), torch.tanh(0.8 * x).relu())
    net = normlab.convert(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)), MINE, report=None)
    assert type(net[1].norm).__name__ == "DyT"


@pytest.mark.parametrize("shape", [(4, 8), (4, 8, 5), (4, 8, 5, 5)])
def test_a_function_of_moments_is_a_layer_on_the_engine(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    loaded(tmp_path)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    layer = make({"kind": "power_of_mine", "share": 0.5}, 8, dims=max(1, len(shape) - 2)).double()
    with torch.no_grad():
        layer.weight.uniform_(0.5, 2)
        layer.bias.uniform_(-1, 1)
    affine = (1, 8) + (1,) * (len(shape) - 2)
    power = x.square().mean(tuple(range(1, len(shape))), keepdim=True) + 1e-5
    wanted = 0.5 * x / power.sqrt() * layer.weight.view(affine) + layer.bias.view(affine)
    seen = layer(x)
    torch.testing.assert_close(seen, wanted)
    g = torch.randn_like(x)
    of_wanted = torch.autograd.grad(wanted, [x, layer.weight], g)
    torch.testing.assert_close(torch.autograd.grad(seen, [x, layer.weight], g), of_wanted)


def test_a_function_that_returns_something_else_is_told_so(tmp_path: Path) -> None:
    @normlab.normalizer("odd_one")
    def odd(mean: torch.Tensor, var: torch.Tensor) -> torch.Tensor:
        """Return one tensor only."""
        return mean

    with pytest.raises(InvalidSpec, match=r"odd returned Tensor; it returns two tensors"):
        make("odd_one", 4)(torch.randn(2, 4, 3, 3))


def test_what_a_notebook_declares_can_be_used_at_once() -> None:
    @normlab.normalizer("of_a_notebook")
    class Twice(nn.Module):
        """Twice its input."""

        def __init__(self, num_features: int) -> None:
            super().__init__()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * x

    assert make("of_a_notebook", 3)(torch.ones(1, 3, 2, 2)).unique().item() == 2


def test_changed_code_is_another_cell_and_unused_code_changes_nothing(tmp_path: Path) -> None:
    plain = JobSpec(normalizer="batch").fingerprint()
    found = loaded(tmp_path)
    assert JobSpec(normalizer=MINE).code == (found.digest,)
    assert JobSpec(normalizer="batch").fingerprint() == plain
    assert JobSpec(normalizer="batch", code=[found.digest]).fingerprint() == plain
    before = JobSpec(normalizer=MINE).fingerprint()
    use([found.model_copy(update={"digest": "0" * 64})])
    assert JobSpec(normalizer=MINE).fingerprint() != before


def test_a_job_names_code_that_is_not_everybodys_by_its_digest(tmp_path: Path) -> None:
    plugin = loaded(tmp_path).plugin()
    registries.put_in_force([])
    registries.find_with({plugin.digest: plugin}.get)
    with pytest.raises(ValidationError, match="'dyt_of_mine' is unknown"):
        JobSpec(normalizer=MINE)
    spec = JobSpec(normalizer=MINE, code=[plugin.digest])
    assert JobSpec.model_validate(spec.model_dump(mode="json")) == spec
    with pytest.raises(ValidationError, match="upload its source first"):
        JobSpec(normalizer="batch", code=["1" * 64])


def test_a_job_is_dumped_with_what_is_not_the_default_alone(tmp_path: Path) -> None:
    loaded(tmp_path)
    spec = JobSpec(normalizer={"kind": "power_of_mine", "share": 0.5})
    assert spec.model_dump(exclude_defaults=True)["normalizer"] == {"share": 0.5}
    assert JobSpec(normalizer="group").model_dump(exclude_defaults=True)["normalizer"] == {}


def test_a_stored_job_is_read_where_its_code_is_not_known(tmp_path: Path) -> None:
    loaded(tmp_path)
    stored = JobSpec(normalizer={"kind": "power_of_mine", "proxy": True}).model_dump(mode="json")
    registries.put_in_force([])
    assert JobSpec.from_store(stored).model_dump(mode="json") == stored


def test_a_fault_is_found_again_at_the_next_try(tmp_path: Path) -> None:
    text = "import normlab\n@normlab.normalizer('bare')\ndef bare(mean): ...\n"
    place = source("bare.py", text).written_below(tmp_path)
    for _ in range(2):
        with pytest.raises(InvalidSpec, match="a normalizer is a class, or a function"):
            load(place, "bare.py")


def test_a_class_takes_the_options_of_the_constructor_that_it_inherits() -> None:
    class Parent(nn.Module):
        def __init__(self, num_features: int, share: float = 0.5) -> None:
            super().__init__()

    @normlab.normalizer("inherits")
    class Child(Parent):
        """It adds nothing."""

    assert BY_KIND["inherits"].model_fields["share"].default == 0.5


def test_declaring_needs_no_torch() -> None:
    code = "import normlab, sys; normlab.normalizer; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
