"""`reversed` and `first` in the methods with a layer map: which teacher layer each student layer learns from.

The terms of explicit maps are compared with their formulas by each method's tests; ted and rail pair otherwise.
"""

import pytest

from distill.methods import registry
from distill.methods.base import Setup
from tests.helpers import states
from tests.helpers.states import QA, models_of

#: The fields of each method that decide, what they are set to, and the layers then: 3 of the student, 6 of the teacher.
CASES = [
    ("lwd", {"layer_map": "reversed"}, [6, 4, 2]),
    ("lwd", {"layer_map": "first"}, [1, 2, 3]),
    ("hidden", {"layer_map": "reversed"}, [(1, 6), (2, 4), (3, 2)]),
    ("pkd", {"layer_map": "reversed"}, [4, 2]),
    ("pkd", {"layer_map": "first"}, [1, 2]),
    ("ckd", {"layer_groups": "reversed"}, [[5, 6], [3, 4], [1, 2]]),
    ("alp", {"layers": "reversed"}, [[5, 6], [3, 4], [1, 2]]),
    ("tinybert", {"layer_map": "reversed"}, [6, 4, 2]),
    ("context", {"layer_map": "reversed"}, [6, 4, 2]),
    ("relation", {"form": "attention", "layer_map": "reversed"}, [6, 4, 2]),
]


@pytest.mark.parametrize(("name", "changes", "layers"), CASES)
def test_the_layers_that_teach(name, changes, layers):
    params = states.load(name, (3, 6), **changes)
    student, teacher = models_of()
    kind = registry.load(name)
    method = kind(params.sections[name], Setup(QA, student.config, teacher.config))
    assert (method.pairs if name == "hidden" else method.layers) == layers
