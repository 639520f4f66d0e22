"""What a fresh clone installs and the commands it has: pyproject.toml, constraints.txt, Makefile, .ci/run."""

import ast
import importlib.metadata
import itertools
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RANGES = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]


def pins() -> dict[str, Requirement]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    names = [canonicalize_name(pin.name) for pin in found]
    assert len(names) == len(set(names)), "constraints.txt has a name twice"
    return dict(zip(names, found, strict=True))


def rules() -> dict[str, str]:
    """Name and help text of the Makefile's targets, `.PHONY`'s included."""
    text = (ROOT / "Makefile").read_text()
    found = dict(re.findall(r"^([a-z][a-z-]*):[^=\n]*?(?:## (.*))?$", text, flags=re.MULTILINE))
    phony = re.search(r"^\.PHONY: (.*)$", text, flags=re.MULTILINE)[1].split()
    return dict.fromkeys(phony, "") | found


@pytest.mark.parametrize("line", RANGES)
def test_pins_lie_in_the_ranges(line):
    requirement = Requirement(line)
    pin = pins().get(canonicalize_name(requirement.name))
    assert pin, f"constraints.txt has no {requirement.name}"
    version = next(iter(pin.specifier)).version
    assert requirement.specifier.contains(version), f"constraints.txt has {pin}, not {requirement}"


def test_every_constraint_is_one_exact_public_version():
    for pin in pins().values():
        (specifier,) = pin.specifier
        assert specifier.operator == "==", f"{pin}: not exact"
        assert not re.search(r"[+*]", specifier.version), f"{pin}: a local version or a pattern"
        assert pin.marker is None
        assert pin.url is None


def test_torch_is_pinned_exactly_and_ranged_widely():
    (pin,) = pins()["torch"].specifier
    assert (pin.operator, pin.version.count(".")) == ("==", 2)
    ranges = {Requirement(line).name: Requirement(line).specifier for line in RANGES}
    assert ranges["torch"].contains("2.11.0")
    assert ranges["transformers"].contains("5.17.0")


def test_this_python_has_the_pinned_versions():
    """Results hold for the pinned versions, so a stale environment is worth an error of its own."""
    for name, pin in pins().items():
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # pinned for development only, or not needed by this Python version
        assert pin.specifier.contains(version, prereleases=True), f"{name} {version}: run make env"


def imported() -> dict[str, str]:
    """Top-level packages that the project's code imports, with one file that does."""
    found = {}
    for folder in ("src", "pipeline", "tests"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and node.level == 0:
                    names = [node.module]
                else:
                    continue
                for name in names:
                    found.setdefault(name.partition(".")[0], str(path.relative_to(ROOT)))
    return found


def test_every_imported_package_is_declared():
    """A package that is there only because another one needs it can vanish with the next version."""
    lines = [*PROJECT["dependencies"], *itertools.chain(*PROJECT["optional-dependencies"].values())]
    declared = {canonicalize_name(Requirement(line).name) for line in lines}
    distributions = importlib.metadata.packages_distributions()
    own = {"distill", "pipeline", "benchmarks", "tests", "conftest"}
    for name, path in imported().items():
        if name in own or name in sys.stdlib_module_names:
            continue
        # What an extra brings need not be installed: such a package is called like its module.
        owners = {canonicalize_name(owner) for owner in distributions.get(name, [name])}
        assert owners & declared, f"{path} imports {name}: add it to pyproject.toml"


def test_every_make_target_has_help():
    assert rules().keys() >= {"help", "env", "repro", "test", "fmt", "preset", "ui", "bench", "clean"}
    assert [name for name, text in rules().items() if not text] == []


def test_make_alone_prints_the_help():
    result = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name, text in rules().items():
        assert re.search(rf"^ *make {name} +{re.escape(text)}$", result.stdout, flags=re.MULTILINE)


def test_ci_runs_the_tests():
    path = ROOT / ".ci" / "run"
    assert path.stat().st_mode & 0o111, ".ci/run cannot be executed"
    lines = path.read_text().splitlines()
    assert "set -euo pipefail" in lines
    assert lines[-2:] == ["make test", "make test-integration"]


def test_an_old_python_is_refused_in_one_line(tmp_path):
    """Without an environment, and with nothing but an interpreter that is too old."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2\nexit 1\n')
    old.chmod(0o755)
    result = subprocess.run(["make", "env", f"PYTHON={old}"], cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode != 0
    message = result.stderr.splitlines()[0]
    assert message.startswith("make env: needs Python >= 3.11, and ")
    assert "is Python 3.9.2" in message
    assert not (tmp_path / ".venv").exists()
