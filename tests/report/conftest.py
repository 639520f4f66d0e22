"""Pictures are drawn where a test has the marker `drawn`."""

import pytest


@pytest.fixture(autouse=True)
def _undrawn_but_where_marked(request):
    if not request.node.get_closest_marker("drawn"):
        request.getfixturevalue("undrawn")
