"""JSON for property tests: two levels deep, which is cheap to make, and nothing here reads deeper levels in another way."""

from __future__ import annotations

from hypothesis import strategies as st

Values = st.SearchStrategy[object]


def values(leaves: Values, names: st.SearchStrategy[str]) -> Values:
    """A leaf, or a list or an object of leaves and of lists and objects of leaves."""
    inner = leaves | st.lists(leaves, max_size=2) | st.dictionaries(names, leaves, max_size=2)
    return leaves | st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3)
