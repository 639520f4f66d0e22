"""Two processes: what they tell one another."""

import pytest

from tests.helpers.two_processes import run, told

pytestmark = pytest.mark.slow


def test_each_knows_itself_and_what_the_first_one_made():
    code = """
made = []
answer = distributed.from_first(lambda: made.append(1) or {"path": "a"})
means = distributed.mean([0.1 + distributed.rank(), 1e-12, 3.0])
tell([distributed.rank(), distributed.count(), distributed.is_first(), answer, len(made), means])
"""
    means = [(0.1 + 1.1) / 2, 1e-12, 3.0]  # float32 would lose the sum of 0.1 and 1.1 in its 8th digit
    assert told(code) == [[0, 2, True, {"path": "a"}, 1, means], [1, 2, False, {"path": "a"}, 0, means]]


def test_trainers_arguments_change_nothing(tmp_path):
    """They forget accelerate's state, and make it again."""
    code = f"""
from transformers import TrainingArguments
arguments = TrainingArguments(output_dir={str(tmp_path)!r}, use_cpu=True, report_to=[])
tell([arguments.process_index, arguments.world_size, distributed.rank(), distributed.count(), distributed.mean([2.0])])
"""
    assert told(code) == [[0, 2, 0, 2, [2.0]], [1, 2, 1, 2, [2.0]]]


def test_who_has_left_is_alone_for_accelerate_too():
    code = """
from accelerate import PartialState
from accelerate.utils import gather_object, wait_for_everyone
distributed.leave()
wait_for_everyone()
state = PartialState()
tell([distributed.rank(), distributed.count(), state.process_index, state.num_processes, gather_object(["own"])])
"""
    assert told(code) == [[0, 1, 0, 1, ["own"]]] * 2


def test_others_wait_longer_for_the_first_one_than_for_gradients():
    """A lock of another run, or scores of a large selection split."""
    code = """
impatient()
answer = distributed.from_first(lambda: time.sleep(3) or "scores")
if distributed.is_first():
    time.sleep(3)
distributed.wait()
tell(answer)
"""
    assert told(code) == ["scores", "scores"]


def test_accelerates_own_functions_are_not_that_patient():
    """Why `distill.runtime.distributed` has a group of processes for that; when this fails, it needs none."""
    code = """
from accelerate.utils import broadcast_object_list
impatient()
if distributed.is_first():
    time.sleep(4)
broadcast_object_list([1])
"""
    assert "Timed out" in run(code)[1].stderr


def test_an_error_of_the_first_one_ends_the_other_without_a_word():
    ended = run("distributed.from_first(lambda: 1 / 0)")
    assert [each.returncode for each in ended] == [1, 1]
    assert "ZeroDivisionError" in ended[0].stderr and "Traceback" not in ended[1].stderr
