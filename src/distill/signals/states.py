"""The teacher's hidden states that methods read, and the choice of those to cache on disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from distill.signals.cache import Array

KINDS = {"cls": "first-token states", "hidden": "states of all tokens"}


def array_name(kind: str, layer: int) -> str:
    """An array of the cache: `cls-2` for the first token's states of layer 2, `hidden-2` for every token's."""
    return f"{kind}-{layer}"


def layer_of(name: str) -> int:
    """The layer in the name of an array (`array_name`)."""
    return int(name.rpartition("-")[2])


@dataclass(frozen=True)
class Reads:
    """The teacher's layers (1…N; 0: the embeddings) whose states a method reads, at the first token or at every one."""

    cls: tuple[int, ...] = ()
    hidden: tuple[int, ...] = ()

    @classmethod
    def of(cls, kind: str, layers: Iterable[int]) -> Reads:
        """Layers of one kind, `cls` or `hidden`, in any order, repeated or not."""
        return cls(**{kind: tuple(sorted(set(layers)))})

    def __bool__(self) -> bool:
        return bool(self.cls or self.hidden)

    def __or__(self, other: Reads) -> Reads:
        """The layers of both."""
        return Reads(*(tuple(sorted({*getattr(self, kind), *getattr(other, kind)})) for kind in KINDS))

    def names(self) -> list[str]:
        """The arrays of the cache."""
        return [array_name(kind, layer) for kind in KINDS for layer in getattr(self, kind)]


@dataclass
class Choice:
    """The hidden states to cache, and the methods that they serve.

    Attributes:
        layers: layers to cache, by kind.
        methods: methods whose states are all cached; the others run the teacher along.
        sizes: bytes to cache, by kind.
        left_out: bytes that each other method would have needed on top.
    """

    layers: dict[str, list[int]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    methods: list[str] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    left_out: dict[str, int] = field(default_factory=dict)


def choose(reads: Mapping[str, Reads], offsets: np.ndarray, width: int, dtype: str, max_bytes: float) -> Choice:
    """Choose the states that fit a budget: methods that add the fewest bytes come first, and share common states.

    Args:
        reads: states that each method reads.
        offsets: int64 (rows + 1,), where each training row's tokens begin.
        width: width of the teacher's states.
        dtype: dtype of the cached states.
    """
    size = {kind: Array(width, kind == "hidden", dtype).size(offsets) for kind in KINDS}
    choice = Choice()

    def missing(method: str) -> dict[str, list[int]]:
        return {kind: [n for n in getattr(reads[method], kind) if n not in choice.layers[kind]] for kind in KINDS}

    def cost(method: str) -> int:
        return sum(size[kind] * len(layers) for kind, layers in missing(method).items())

    for method in sorted((name for name, wanted in reads.items() if wanted), key=lambda name: (cost(name), name)):
        more = cost(method)
        if sum(choice.sizes.values()) + more > max_bytes:
            choice.left_out[method] = more
            continue
        for kind, layers in missing(method).items():
            choice.layers[kind] = sorted([*choice.layers[kind], *layers])
            choice.sizes[kind] += size[kind] * len(layers)
        choice.methods.append(method)
    return choice


def describe(choice: Choice, logits: int, max_gb: float) -> str:
    """One line for the stage's report: the cached states, their sizes, and the methods that run the teacher instead.

    Args:
        logits: bytes of the logits.
    """
    parts = [f"logits ({_size(logits)})"]
    for kind, layers in choice.layers.items():
        if layers:
            parts.append(f"{KINDS[kind]} of layers {', '.join(map(str, layers))} ({_size(choice.sizes[kind])})")
    line = ", ".join(parts) + (f" for {', '.join(choice.methods)}" if choice.methods else "")
    if choice.left_out:
        names = ", ".join(f"{name} ({_size(size)} more)" for name, size in choice.left_out.items())
        line += f"; over cache.max_gb {max_gb:g}, so with the teacher running along: {names}"
    return line


def _size(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
