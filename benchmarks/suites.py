"""What is measured on which models: the embedded pair, MiniLM 6 → 3 on SQuAD v2.0's lengths, DeBERTa-v3 on a GPU."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

from benchmarks import lengths, machine, peer_data, project
from benchmarks.report import Ratio, Row, Suite, row, speed_ratio, time_ratio
from benchmarks.rounds import System, measure

OURS = "this project"
# `kd` on batches of rows with and without labels, and the share of the latter.
MIXED, SHARE = "kd mixed", 0.5
# Forms of the peers: the plain Trainer's are methods.
TRAINER = ("kd", "ted")
TEXTBREWER = {
    "logits": "soft targets, teacher runs along, fixed length",
    "hidden": "soft targets and hidden states, fixed length",
    "cached": "soft targets fed by the user, fixed length",
}


@dataclass(frozen=True)
class Plan:
    """A suite.

    Attributes:
        changes: of params.yaml, beside the data's and the short trainings'.
        rows: training rows; None: those of the embedded corpus.
        precisions: of our systems.
        updates, fixed_updates: per round, of systems that group by length and of those with a fixed length.
        cached_states: also `lwd` and `ted` from cached hidden states: where those of the whole data set would fit.
        peers: also TextBrewer, torchdistill and the plain Trainer.
        systems: these alone, without their precisions (`kd cached`); None: all.
    """

    name: str
    title: str
    models: str
    batch_size: int
    precisions: tuple[str, ...]
    changes: dict[str, Any] = field(default_factory=dict)
    rows: int | None = None
    updates: int = 4
    fixed_updates: int = 2
    warm_up: int = 2
    rounds: int = 5
    cached_states: bool = False
    peers: bool = False
    systems: Sequence[str] | None = None


_BERT = {
    "model_type": "bert",
    "num_hidden_layers": 6,
    "hidden_size": 384,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "attention_probs_dropout_prob": 0.0,
}
_DEBERTA = {
    "model_type": "deberta-v2",
    "num_hidden_layers": 12,
    "max_position_embeddings": 512,
    "relative_attention": True,
    "max_relative_positions": -1,
    "position_buckets": 256,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "type_vocab_size": 0,
    "vocab_size": 128100,
}


def plans(quick: bool) -> list[Plan]:
    """The suites of this machine; quick: as little as shows that everything runs."""
    cuda = torch.cuda.is_available()
    both = ("fp32", "bf16")
    embedded = Plan(
        "embedded",
        "Embedded corpus",
        "DeBERTa-v2 4 × 128 → 2 × 64 (the models of params.yaml)",
        32,
        ("fp32",),
        {"atlas.train_questions": 4000, "atlas.validation_questions": 100},
        updates=20,
        warm_up=10,
        cached_states=True,
    )
    minilm = Plan(
        "minilm",
        "SQuAD v2.0 lengths, at most 384 tokens, MiniLM",
        "BERT 6 × 384 (MiniLM's shape) → 3 × 384, vocabulary 30,522",
        16,
        both,
        {
            "teacher.model.config": _BERT,
            "student.model.config": {},
            "student.init": "teacher_layers",
            "student.layers": [2, 4, 6],
            "teacher_filters.filter_interval": 2,
            "teacher_filters.filter_output_dim": 384,
            "student_filters.filter_output_dim": 384,
        },
        rows=1600,
        updates=40 if cuda else 4,
        fixed_updates=20 if cuda else 2,
        peers=True,
    )
    deberta = Plan(
        "deberta",
        "SQuAD v2.0 lengths, at most 384 tokens, DeBERTa-v3",
        "DeBERTa-v3-base 12 × 768 → xsmall 12 × 384, vocabulary 128,100",
        32,
        both,
        {
            "teacher.model.config": _DEBERTA
            | {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072},
            "student.model.config": _DEBERTA
            | {"hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536},
            "teacher_filters.filter_output_dim": 384,
            "student_filters.filter_output_dim": 384,
            "student_filters.filter_interval": 2,
        },
        rows=3200,
        updates=20,
        fixed_updates=10,
    )
    chosen = [embedded, minilm, *([deberta] if cuda else [])]
    if not quick:
        return chosen
    return [_smoke(plan) for plan in chosen]


def _smoke(plan: Plan) -> Plan:
    """The same systems with a few updates of small models on little data."""
    changes = dict(plan.changes)
    for role in ("teacher", "student"):
        if shape := changes.get(f"{role}.model.config"):
            narrow = {"hidden_size": 48, "num_attention_heads": 4, "intermediate_size": 96}
            changes[f"{role}.model.config"] = shape | narrow
    if plan.rows is None:
        changes["atlas.train_questions"] = 400
    rows = plan.rows and 192
    return replace(plan, changes=changes, rows=rows, updates=1, fixed_updates=1, warm_up=1, rounds=2)


def run(plan: Plan, folder: Path, peers_python: Path | None) -> Suite:
    """Make the suite's project in `folder`, measure, compare.

    Args:
        peers_python: interpreter of the peers' environment; None: without the peers that need it.
    """
    base = folder / plan.name / "base"
    own = project.own_data(plan.rows) if plan.rows else {}
    own |= project.transfer_data() if plan.rows else {}
    own |= {} if plan.cached_states else {"cache.max_gb": 0}
    # The teacher's predictions are made in the faster precision: they are the same rows whatever trains on them.
    fast = plan.precisions[-1]
    project.write(base, {**own, **project.short_training(plan.batch_size, fast), **plan.changes})
    if plan.rows:
        project.write_data(base, plan.rows)
        project.write_transfer(base, plan.rows)
    project.make(base)
    from distill.data.loading.mixing import Mix
    from distill.data.loading.prepared import Prepared

    prepared = Prepared(base / "data/prepared", base / "data/reported")
    found = prepared.ragged("train").lengths
    seed = lengths.representative_seed(found, plan.batch_size, plan.warm_up, plan.updates, plan.rounds)
    mixed_seed = seed
    if prepared.has_transfer:
        both, mix = prepared.taught_features().data.column("length").to_numpy(), Mix(len(found), SHARE)
        mixed_seed = lengths.representative_seed(both, plan.batch_size, plan.warm_up, plan.updates, plan.rounds, mix)
    systems = {
        system.name: (system, about)
        for system, about in _systems(plan, base, seed, mixed_seed, peers_python)
        if plan.systems is None or system.name.rsplit(" ", 1)[0] in plan.systems
    }
    answers = measure([system for system, _ in systems.values()], plan.rounds)
    rows = {name: row(*systems[name][1], rounds, mfu(name, rounds, base)) for name, rounds in answers.items() if rounds}
    return Suite(
        title=plan.title,
        models=plan.models,
        batch_size=plan.batch_size,
        rows_of_data=len(found),
        tokens_mean=float(found.mean()),
        rows=rows,
        ratios=ratios(rows),
        left_out=[name for name in systems if name not in rows],
    )


def own_forms(plan: Plan) -> dict[str, tuple[str, list[str]]]:
    """Our own systems of a suite: name, without the precision → (what it is, words of `benchmarks.ours`)."""
    forms = {
        "ft": ("fine-tuning (`ft`)", ["distill", "ft"]),
        "kd cached": ("`kd` from the cache", ["distill", "kd"]),
        "kd online": ("`kd`, teacher runs along", ["distill", "kd", "--online"]),
        "lwd": ("`lwd`, teacher runs along", ["distill", "lwd", "--online"]),
        "ted": ("`ted`, teacher runs along", ["distill", "ted", "--online"]),
        "teacher": ("forward pass of the teacher alone", ["teacher"]),
    }
    if plan.cached_states:
        forms |= {f"{name} cached": (f"`{name}` from the cache", ["distill", name]) for name in ("lwd", "ted")}
    if plan.rows:
        forms |= {MIXED: (f"`kd` from the cache, {SHARE:.0%} of the rows of a transfer set", ["distill", "kd"])}
    return forms


def names(plan: Plan, peers_python: Path | None) -> list[str]:
    """All systems of a suite, without their precisions."""
    peers = [f"trainer {form}" for form in TRAINER] if plan.peers else []
    if plan.peers and peers_python is not None:
        peers += [*(f"textbrewer {form}" for form in TEXTBREWER), "torchdistill"]
    return [*own_forms(plan), *peers]


def mfu(name: str, rounds: list[dict[str, Any]], base: Path) -> float | None:
    """Share of the device's peak that our own systems' arithmetic on real tokens takes; None elsewhere."""
    peak = machine.peak()
    if peak is None or name.startswith(("trainer", "textbrewer", "torchdistill")):
        return None
    tokens, squares, seconds = (sum(r[key] for r in rounds) for key in ("real_tokens", "squares", "seconds"))
    teacher, student = (
        machine.forward_operations(AutoConfig.from_pretrained(base / "data/models" / role), tokens, squares)
        for role in ("teacher", "student")
    )
    method = name.rsplit(" ", 1)[0]
    needed = {"teacher": teacher, "ft": 3 * student}.get(method, 3 * student)
    needed += teacher if method in ("kd online", "lwd", "ted") else 0
    return needed / seconds / peak


def _systems(
    plan: Plan, base: Path, seed: int, mixed_seed: int, peers_python: Path | None
) -> list[tuple[System, tuple[str, str, str]]]:
    """The processes of a suite with their (system, form, precision).

    Args:
        seed: seed of our own trainings. mixed_seed: of the one on rows with and without labels.
    """
    found: list[tuple[System, tuple[str, str, str]]] = []
    for precision in plan.precisions:
        for name, (form, words) in own_forms(plan).items():
            key = f"{name} {precision}"
            changes = {"distill.precision": precision, "predict.precision": precision}
            changes |= {"distill.transfer_share": SHARE} if name == MIXED else {}
            its_seed = mixed_seed if name == MIXED else seed
            copied = project.copy(base, base.parent / key.replace(" ", "-"), changes)
            options = [word for word in words if word.startswith("--")]
            plain = [word for word in words if not word.startswith("--")]
            command = [sys.executable, "-m", "benchmarks.ours", str(copied), *plain, str(its_seed), *options]
            found.append((System(key, command, plan.updates, plan.warm_up, in_step=True), (OURS, form, precision)))
    if not plan.peers:
        return found
    archive = base.parent / "rows.npz"
    peer_data.export(base, archive)
    data = [str(base), str(archive), str(plan.batch_size)]
    width = str(lengths.MAX_LENGTH)
    fixed = (plan.fixed_updates, 1)
    for form in TRAINER:
        for precision in plan.precisions:
            command = [sys.executable, "-m", "benchmarks.plain_trainer", *data, width, form]
            command += ["--bf16"] if precision == "bf16" else []
            about = ("Trainer + compute_loss", f"`{form}`, teacher runs along, fixed length", precision)
            found.append((System(f"trainer {form} {precision}", command, *fixed), about))
    if peers_python is None:
        return found
    for form, text in TEXTBREWER.items():
        command = [str(peers_python), "-m", "benchmarks.peer_textbrewer", *data, width, form]
        found.append((System(f"textbrewer {form} fp32", command, *fixed), ("TextBrewer", text, "fp32")))
    command = [str(peers_python), "-m", "benchmarks.peer_torchdistill", *data]
    text = "soft targets, teacher runs along, padded per batch"
    found.append((System("torchdistill fp32", command, *fixed), ("torchdistill", text, "fp32")))
    return found


def ratios(rows: dict[str, Row]) -> list[Ratio]:
    """All comparisons whose rows were measured, those with a goal first."""
    found: list[Ratio] = []
    precisions = dict.fromkeys(name.rsplit(" ", 1)[1] for name in rows)
    best = "bf16" if "bf16" in precisions else "fp32"

    def times(name: str, above: str, *below: str, goal: float | None = None) -> None:
        if {above, *below} <= rows.keys():
            value = time_ratio(rows[above], *(rows[key] for key in below))
            found.append(Ratio(name=name, value=value, goal=goal, sense=goal and "<="))

    def speeds(name: str, above: str, below: str, goal: float | None = None) -> None:
        if {above, below} <= rows.keys():
            value = speed_ratio(rows[above], rows[below])
            found.append(Ratio(name=name, value=value, goal=goal, sense=goal and ">="))

    for p in precisions:
        times(f"kd from the cache / ft, time per update, {p}", f"kd cached {p}", f"ft {p}", goal=1.03)
        mixed = f"kd with a transfer set / kd from the cache, time per update, {p}"
        times(mixed, f"{MIXED} {p}", f"kd cached {p}", goal=1.05)
        times(f"ted / (ft + teacher forward), time per update, {p}", f"ted {p}", f"ft {p}", f"teacher {p}", goal=1.10)
    usual = f"kd cached ({best}) / TextBrewer in its set-up (fixed length, fp32), examples/s"
    speeds(usual, f"kd cached {best}", "textbrewer logits fp32", goal=4)
    speeds(f"ted ({best}) / Trainer, fixed length, fp32, examples/s", f"ted {best}", "trainer ted fp32", goal=2.5)
    for p in precisions:
        times(f"ted from the cache / ft, time per update, {p}", f"ted cached {p}", f"ft {p}")
        times(f"kd online / kd from the cache, time per update, {p}", f"kd online {p}", f"kd cached {p}")
    equal = "both fp32, examples/s"
    speeds(f"kd cached / TextBrewer, {equal}", "kd cached fp32", "textbrewer logits fp32")
    speeds(f"kd online / TextBrewer, {equal}", "kd online fp32", "textbrewer logits fp32")
    speeds(f"kd cached / TextBrewer fed with cached outputs, {equal}", "kd cached fp32", "textbrewer cached fp32")
    speeds(f"lwd / TextBrewer with hidden states, {equal}", "lwd fp32", "textbrewer hidden fp32")
    speeds(
        f"kd cached ({best}) / torchdistill in its set-up (padded per batch, fp32), examples/s",
        f"kd cached {best}",
        "torchdistill fp32",
    )
    speeds(f"kd cached / torchdistill, {equal}", "kd cached fp32", "torchdistill fp32")
    speeds(f"kd online / torchdistill, {equal}", "kd online fp32", "torchdistill fp32")
    for p in precisions:
        both = f"both {p}, examples/s"
        speeds(f"kd cached / Trainer, fixed length, {both}", f"kd cached {p}", f"trainer kd {p}")
        speeds(f"ted / Trainer, fixed length, {both}", f"ted {p}", f"trainer ted {p}")
    return sorted(found, key=lambda ratio: ratio.goal is None)
