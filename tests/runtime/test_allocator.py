"""Memory that was freed is used again, in place of being fetched from the system anew."""

import platform
import subprocess
import sys

import pytest

from tests.helpers import micro

# Page faults of four passes through a few layers, after two that set the memory up. Each output is of 33 MiB: what is
# smaller comes to be kept by glibc's own choice.
CODE = """
import resource, sys
import torch
from distill.runtime import allocator
if sys.argv[1] == "keep":
    assert allocator.keep_freed()
model, rows = torch.nn.Sequential(*[torch.nn.Tanh()] * 3), torch.ones(4224, 2048, requires_grad=True)
for number in range(6):
    if number == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.autograd.grad(model(rows).sum(), rows)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_passes_after_the_first_cost_few_page_faults():
    faults = {}
    for word in ("keep", "leave"):
        command = [sys.executable, "-c", f"import sys; sys.path.insert(0, 'src'){CODE}", word]
        done = subprocess.run(command, cwd=micro.ROOT, capture_output=True, text=True, check=True)
        faults[word] = int(done.stdout)
    assert faults["keep"] < faults["leave"] / 3
