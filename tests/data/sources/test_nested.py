"""Objects of lists are lists of objects, and nothing is lost on the way."""

from hypothesis import given
from hypothesis import strategies as st

from distill.data.sources import nested

OBJECTS = st.lists(st.fixed_dictionaries({"a": st.integers(), "b": st.text(max_size=3)}), max_size=5)


@given(OBJECTS)
def test_objects_come_back(objects):
    assert nested.objects({name: [one[name] for one in objects] for name in ("a", "b")}) == objects
    assert nested.objects(objects) is objects


@given(st.dictionaries(st.text(max_size=3), st.one_of(st.none(), st.lists(st.integers(), max_size=3)), max_size=3))
def test_anything_else_stays_as_it_is(value):
    lengths = {len(values) if isinstance(values, list) else -1 for values in value.values()}
    if len(lengths) == 1 and lengths != {-1}:
        assert len(nested.objects(value)) == lengths.pop()
    else:
        assert nested.objects(value) is value
