"""NaN and infinity with JSON: removed, named, and put back."""

from __future__ import annotations

import json
from math import inf, isnan, nan
from typing import Any, Dict

from hypothesis import given, strategies as st

from normlab.not_finite import FIELD, put_back, taken_out, tallied, written

keys = st.text(alphabet="ab/~.0", max_size=3).filter(lambda key: key != FIELD)
records = st.dictionaries(
    keys,
    st.recursive(
        st.floats() | st.integers() | st.none() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


@given(records)
def test_what_is_taken_out_is_json_and_comes_back(record: Dict[str, Any]) -> None:
    places: Dict[str, Any] = {}
    plain = json.dumps({**taken_out(record, places), FIELD: places}, allow_nan=False)
    found = put_back(json.loads(plain))
    assert found.pop(FIELD) == places
    assert json.dumps(found) == json.dumps(record)  # of which NaN is equal to itself


def test_records_inside_of_lists_and_records_have_their_own_places() -> None:
    inner = {"values": [None, 1.0], FIELD: {"/values/0": "NaN"}}
    found = put_back([{"a": inner, "b": None, FIELD: {"/b": "-Infinity"}}])
    assert isnan(found[0]["a"]["values"][0])
    assert found[0]["b"] == -inf


def test_a_number_is_written_with_few_digits_or_by_its_name() -> None:
    assert [written(x) for x in (0.123456, nan, inf, -inf)] == [
        "0.1235", "NaN", "Infinity", "-Infinity",
    ]  # fmt: skip
    assert tallied(["NaN", "Infinity", "NaN"]) == "2 NaN, 1 Infinity"
