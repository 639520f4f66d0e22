"""Memory that was freed is used again, in place of being fetched from the system anew."""

import platform
import subprocess
import sys

import pytest

from tests import micro

# Page faults of ten passes through a few wide layers, after two that set the memory up.
CODE = """
import resource, sys
import torch
from distill import memory
if sys.argv[1] == "keep":
    assert memory.keep_freed()
layers = [torch.nn.Linear(256, 2048), torch.nn.GELU(), torch.nn.Linear(2048, 256)] * 3
model, rows = torch.nn.Sequential(*layers), torch.ones(4096, 256)
for number in range(12):
    if number == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    model(rows).sum().backward()
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
