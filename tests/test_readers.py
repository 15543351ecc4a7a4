"""Every reader, given a few damaged files; ``python -m tests.fuzz_readers --mutations 20000`` gives it many."""

from __future__ import annotations

import pytest

from tests.fuzz_readers import fuzz
from tests.readers import READERS


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_read_or_refused_in_one_line(name: str) -> None:
    found = fuzz(name, 12, seed=1)
    assert found.findings == []
    assert found.read + found.refused == 24
