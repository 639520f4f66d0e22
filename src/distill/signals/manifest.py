"""A method's teacher signals in two small files: the request for them, and the manifest of those handed over.

Stage plan writes the requests of all listed methods. Stage signals makes a folder for each of them, with the requested
files (hard links, which take no room on the disk) and a manifest. A student depends on its method's folder and on
nothing else of the teacher.

    <folder>/signals.json    the manifest
    <folder>/logits/         the teacher's logits over the training features (`distill.signals.cache`)
    <folder>/states/         those of its hidden states that the method reads (`distill.signals.cache`)
    <folder>/teacher/        its checkpoint where it runs along, otherwise its configuration alone
    <folder>/<artifact>/     outputs of other stages: filters, assistant, generator, candidates, augmented, snapshots
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from distill.errors import UserError
from distill.runtime import json_text
from distill.signals.states import Reads

MANIFEST = "signals.json"


@dataclass(frozen=True)
class Request:
    """A method's request.

    Attributes:
        taught_by: model that it learns from (`methods.base.Method.taught_by`); None: it learns from labels alone.
        logits: the teacher's logits over the training features.
        states: the teacher's hidden states over the training features.
        model: the teacher itself, even where its outputs are cached.
        artifacts: outputs of other stages: filters, assistant, generator, candidates, snapshots.
        copies: augmented copies of the training features, to train on.
        snapshot: number of the checkpoint of the teacher's training whose logits they are; None: the teacher's own.
        why: reason, for the reader, to run the teacher along even where its outputs are cached; empty without one.
    """

    taught_by: str | None = None
    logits: bool = False
    states: Reads = field(default_factory=Reads)
    model: bool = False
    artifacts: tuple[str, ...] = ()
    copies: bool = False
    snapshot: int | None = None
    why: str = ""

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Request:
        """The request whose `asdict` was stored as JSON."""
        states = Reads(**{kind: tuple(layers) for kind, layers in content["states"].items()})
        return cls(**content | {"states": states, "artifacts": tuple(content["artifacts"])})


@dataclass(frozen=True)
class Manifest:
    """A record of the files handed to a method.

    Attributes:
        taught_by: see `Request`.
        model: whether the folder `teacher` is a whole checkpoint.
        copies: whether the features to train on are those of the folder `augmented`.
        weights: content hash of the model whose outputs are cached; None where none are.
        tensors: hash of each of the teacher's tensors (`runtime.checkpoints.tensor_hashes`); empty without a teacher.
    """

    taught_by: str | None
    model: bool
    copies: bool
    weights: str | None
    tensors: dict[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write `signals.json`."""
        (folder / MANIFEST).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read `signals.json`.

        Raises:
            UserError: it is missing or damaged.
        """
        try:
            return cls(**json_text.parse((folder / MANIFEST).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise UserError(
                f"{folder}/{MANIFEST}: cannot be read ({error}): run `dvc checkout {folder}` (in a fresh clone"
                f" `dvc pull {folder}`), or `dvc repro signals`"
            ) from error
