"""A form read from its fields: one that is far too long is refused before it is written as text."""

from __future__ import annotations

import pytest

from server.structured_outputs.constraint import read_constraint
from server.structured_outputs.errors import ConstraintRefused


@pytest.mark.parametrize("field", ["response_format", "structured_outputs"])
def test_a_schema_of_a_large_body_is_refused_at_once(field):
    """With the bound, and the field at fault."""
    schema = {"enum": list(range(100_000))}
    of_format = {"type": "json_schema", "json_schema": {"schema": schema}}
    asked = {field: of_format if field == "response_format" else {"json": schema}}
    with pytest.raises(ConstraintRefused, match="longer than 65536 bytes") as refused:
        read_constraint(asked)
    assert refused.value.param.startswith(field)
