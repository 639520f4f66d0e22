"""Paths of inputs and outputs, relative to the repository's root."""

from __future__ import annotations

from pathlib import Path

from distill import parameters
from distill.config.data import embedded_file
from distill.config.params import Params
from distill.errors import UserError
from pipeline.stage import origins

PARAMS = Path("params.yaml")
CORPUS = Path("data/raw/atlas")
PREPARED = Path("data/prepared")
# The splits that scores are reported on.
REPORTED = Path("data/reported")
PREDICTIONS = Path("data/teacher")
#: The outputs of an ensemble's members, a folder each.
MEMBERS = Path("data/members")
STATES = Path("data/states")
#: Checkpoints of the teacher's own training, their logits and their scores.
SNAPSHOTS, SNAPSHOT_LOGITS = Path("data/models/snapshots"), Path("data/snapshots")
SNAPSHOT_SCORES = Path("metrics/selection/snapshots.json")
#: The states that the teacher's filters are trained on, and stage plan's name for their reader.
FILTER_STATES, FILTERS_READER = Path("data/filter_states"), "teacher_filters"
SIGNALS = Path("data/signals")
ASSISTANT = Path("data/assistant")
GENERATOR = Path("data/models/generator")
CANDIDATES = Path("data/candidates")
AUGMENTED = Path("data/augmented")
SAMPLES = Path("data/samples")
METRICS = Path("metrics")
#: The code of methods, a file each.
METHODS = Path("src/distill/methods")


def params(pinned: bool = True) -> Params:
    """The checked parameters of this checkout.

    Args:
        pinned: Whether branches of the hub are replaced by the commits that stage inputs has looked up.
    """
    loaded = parameters.load(PARAMS)
    return origins.pinned(loaded) if pinned else loaded


def corpus_file(corpus: str, split: str) -> Path:
    """A file of the embedded corpus."""
    return CORPUS / embedded_file(corpus, split)


def member_of(name: str, checked: Params) -> str:
    """The name of a member of the ensemble, from the command line.

    Raises:
        UserError: it has no section in params.yaml.
    """
    if name not in checked.members:
        raise UserError(
            f"member {name!r}: {PARAMS} has no such section: known are {', '.join(checked.members) or 'none'}"
        )
    return name


#: What an annotator says of the embedded corpus's sentences, a teacher's stored predictions.
ANNOTATOR = CORPUS / "sentences" / "annotator.jsonl"


def role_of(name: str) -> str:
    """`teacher` or `student`."""
    if name not in ("teacher", "student"):
        raise UserError(f"{name!r}: expected teacher or student")
    return name


def model(role: str) -> Path:
    """The folder of the fine-tuned teacher or student."""
    return Path("data/models") / role


def member(name: str) -> Path:
    """The folder of a fine-tuned member of the ensemble; `MEMBERS` has the folder of its outputs."""
    return Path("data/models/members") / name


def member_label(name: str) -> str:
    """A member's label in the names of files: `member-second`."""
    return f"member-{name}"


def weights(folder: Path) -> Path:
    """The weights of a checkpoint, whose hash caches of its outputs name."""
    return folder / "model.safetensors"


#: The fine-tuned teacher's weights.
WEIGHTS = weights(model("teacher"))


def filters(role: str) -> Path:
    """The folder of the teacher's or student's filters."""
    return Path("data/models/filters") / role


def signals(method: str) -> Path:
    """The folder of a method's signals (`distill.signals.manifest`)."""
    return SIGNALS / method


def distilled(method: str, seed: int) -> Path:
    """The folder of a distilled student."""
    return Path("data/models/distill") / method / str(seed)


def label(name: str, seed: int) -> str:
    """A student's label in the names of files: `ted-1`."""
    return f"{name}-{seed}"


def sample(name: str, seed: int) -> Path:
    """The sample of a student's changed texts."""
    return SAMPLES / f"{label(name, seed)}.json"


def generations(folder: Path) -> list[Path]:
    """The generations before a born-again student, 0 first, in the student's folder; none for other students."""
    return numbered(folder / "generations")


def numbered(folder: Path) -> list[Path]:
    """What has a number for its name in a folder, in order; none where there is no such folder."""
    return sorted(folder.glob("[0-9]*"), key=lambda path: int(path.name))


def run_of(name: str, seed: str, checked: Params) -> tuple[str, int]:
    """A method's or variant's name and a seed, from the command line.

    Raises:
        UserError: the name has no section in params.yaml, or the seed is no number.
    """
    if name not in checked.sections:
        raise UserError(f"method {name!r}: {PARAMS} has no such section: known are {', '.join(checked.sections)}")
    if not seed.lstrip("-").isdigit():
        raise UserError(f"seed {seed!r}: expected a whole number")
    return name, int(seed)
