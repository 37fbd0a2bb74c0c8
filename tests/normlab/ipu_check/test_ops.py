from __future__ import annotations

import subprocess
import sys

import pytest

from normlab.ipu_check.ops import is_supported, listed


def test_the_list_has_its_provenance_and_its_317_names() -> None:
    assert len(listed()) == 317
    assert {"aten::convolution", "aten::native_batch_norm", "poptorch::identity_loss"} <= listed()


@pytest.mark.parametrize(
    "name",
    [
        "aten::add_",  # in place: matched without the underscore
        "aten::copy_",  # only listed in place
        "aten::zero_",  # becomes zeros_like
        "aten::fill_",
        "aten::_adaptive_avg_pool2d",
        "aten::empty",  # handled before the list is used
        "aten::_native_batch_norm_legit",  # the name in newer versions of torch
    ],
)
def test_names_are_matched_as_poptorch_does(name: str) -> None:
    assert is_supported(name)


@pytest.mark.parametrize(
    "name",
    [
        "aten::lerp_",
        "aten::huber_loss",
        "aten::adaptive_max_pool2d",
        "aten::masked_select",
        "aten::_local_scalar_dense",
        "aten::copy",  # listed in place only
        "mine::fused",
    ],
)
def test_what_is_not_listed_is_refused(name: str) -> None:
    assert not is_supported(name)


def test_the_rules_on_specs_need_no_torch() -> None:
    code = (
        "import sys; import normlab.ipu_check, normlab.specs.ipu_rules, normlab.ipu_check.ops; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
