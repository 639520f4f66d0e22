"""What an objective may ask of the trainer: progress, further columns, learning rates of its own, tied weights."""

import pytest
import torch

from distill.tasks.registry import load_task
from distill.training import trainer
from distill.training.finetuning import FineTuningObjective
from distill.training.objective import Objective, Progress
from tests.helpers import tiny
from tests.training.test_trainer import LONG, Kill, Probe, dying, rising, run, weights

TASK = load_task("qa")


@pytest.mark.parametrize("accumulation", [1, 2])
def test_progress_is_the_updates_that_are_done_and_the_epochs_that_are_over(tmp_path, accumulation):
    """24 rows by 4 are 6 updates an epoch."""
    probe = Probe()
    run(probe, tmp_path, max_steps=15, gradient_accumulation=accumulation)
    assert probe.progress == [Progress(step, 15, step // 6) for step in range(15) for _ in range(accumulation)]
    shares = [progress.share for progress in probe.progress]
    assert shares == [step / 14 for step in range(15) for _ in range(accumulation)]
    assert shares[0] == 0 and shares[-1] == 1  # schedules reach both their ends


def test_a_training_of_one_step_is_at_its_end():
    assert Progress(0, 1, 0).share == 1


@pytest.mark.parametrize(("rows", "batch_size", "accumulation"), [(23, 4, 1), (23, 8, 4), (7, 2, 2), (10, 3, 1)])
def test_an_epoch_ends_where_the_rows_end_also_with_a_part_of_a_batch(tmp_path, rows, batch_size, accumulation):
    probe = Probe()
    run(
        probe,
        tmp_path,
        features=tiny.features(rows),
        max_steps=None,
        epochs=5,
        batch_size=batch_size,
        gradient_accumulation=accumulation,
    )
    seen = [[], [], [], [], []]
    for progress, batch in zip(probe.progress, probe.seen, strict=True):
        seen[progress.epoch] += batch
    assert [sorted(epoch) for epoch in seen] == [list(range(rows))] * 5


@pytest.mark.parametrize("killed_at", [4, 7, 9, 12])
def test_a_resumed_training_counts_epochs_as_an_uninterrupted_one_does(tmp_path, killed_at):
    killed = dying(Probe(), killed_at)
    with pytest.raises(Kill):
        run(killed, tmp_path, max_steps=12, batch_size=5, features=tiny.features(24))
    again = Probe()
    result = run(again, tmp_path, max_steps=12, batch_size=5, features=tiny.features(24))
    assert again.progress == [Progress(step, 12, step // 5) for step in range(result.resumed_from, 12)]


def test_a_term_that_some_batches_lack_is_the_mean_of_those_that_have_it(tmp_path):
    probe = Probe()
    forward = probe.forward

    def sometimes(**batch):
        terms = forward(**batch)
        return terms if len(probe.seen) % 3 == 0 else {name: terms[name] for name in ("loss", "index")}

    probe.forward = sometimes
    result = run(probe, tmp_path, max_steps=6, log_every=3)
    means = [sum(batch) / len(batch) for batch in probe.seen]
    assert [entry["square"] for entry in result.history] == pytest.approx([means[2] ** 2, means[5] ** 2])
    assert [entry["index"] for entry in result.history] == pytest.approx([sum(means[:3]) / 3, sum(means[3:]) / 3])
    probe = Probe()
    probe.forward = lambda **batch: {"loss": probe.weight.sum(), **({"late": torch.ones(())} if early(probe) else {})}
    entries = run(probe, tmp_path / "late", max_steps=6, log_every=2).history
    assert [entry.get("late") for entry in entries] == [1.0, None, None]


def early(probe):
    return probe.progress[-1].step < 2


def test_extra_columns_come_with_the_batch_and_only_where_asked_for(tmp_path):
    features = tiny.features(8).add_column("offset_start", [[7] * n for n in tiny.features(8)["length"]])
    found = []

    class Extra(Probe):
        columns = ("offset_start",)

        def forward(self, **batch):
            found.append(batch)
            return super().forward(**batch)

    class Plain(Extra):
        columns = ()

    run(Extra(), tmp_path / "extra", features=features, max_steps=2)
    for batch in found:
        expected = torch.where(batch["attention_mask"].bool(), 7, -1)
        assert torch.equal(batch["offset_start"], expected) and (expected == -1).any()
    found.clear()
    run(Plain(), tmp_path / "plain", features=features, max_steps=1)
    assert "offset_start" not in found[0]


class Rates(Objective):
    """Weights whose gradients are all 1: Adam then moves each by the learning rate in its first update."""

    def __init__(self, rates):
        super().__init__()
        self.student = torch.nn.ModuleDict({"body": torch.nn.Linear(2, 2), "norm": torch.nn.LayerNorm(2)})
        self.method = torch.nn.ModuleDict({"generator": torch.nn.Linear(2, 3), "maps": torch.nn.Linear(2, 2)})
        self.idle = torch.nn.Parameter(torch.ones(1))
        self.rates = rates

    def learning_rates(self):
        return self.rates

    def forward(self, **batch):
        return {"loss": sum(p.sum() for name, p in self.named_parameters() if name != "idle")}


def moves(module, folder, **changes):
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    settings = {"max_steps": 1, "lr_scheduler": "constant", "max_grad_norm": 0.0, "log_every": 1}
    history = run(module, folder, **settings | changes).history
    return {name: (before[name] - p.detach()).flatten() for name, p in module.named_parameters()}, history


def test_parameters_may_have_learning_rates_of_their_own(tmp_path):
    found, history = moves(Rates({"method.generator": 5e-4, "student.norm": 0.0}), tmp_path)
    for name, moved in found.items():
        rate = {"method.generator": 5e-4, "student.norm": 0.0, "idle": 0.0}
        expected = next((rate[prefix] for prefix in rate if name.startswith(prefix)), 1e-2)
        torch.testing.assert_close(moved, torch.full_like(moved, expected), rtol=1e-3, atol=1e-6, msg=name)
    assert history[0]["learning_rate"] == pytest.approx(1e-2)
    plain, _ = moves(Rates({}), tmp_path / "plain")
    assert all(torch.allclose(moved, torch.full_like(moved, 1e-2)) for n, moved in plain.items() if n != "idle")


def test_their_rates_follow_the_schedule_and_weight_decay_stays_as_it_is(tmp_path):
    module = Rates({"method.generator": 1e-3})
    found, _ = moves(module, tmp_path, max_steps=2, warmup=1.0, lr_scheduler="constant_with_warmup")
    # Warm-up of one update: 0 in the first, the whole rate in the second.
    torch.testing.assert_close(found["method.generator.bias"], torch.full((3,), 1e-3), rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(found["student.body.bias"], torch.full((2,), 1e-2), rtol=1e-3, atol=1e-6)
    decayed = Rates({"method.generator": 1e-3})
    with torch.no_grad():
        decayed.method["generator"].weight.fill_(100.0)
        decayed.method["generator"].bias.fill_(100.0)
    found, _ = moves(decayed, tmp_path / "decay", weight_decay=0.5)
    # 1e-3 for the gradient and 1e-3 · 0.5 · 100 of decay, which biases do not have.
    assert found["method.generator.weight"].tolist() == pytest.approx([0.051] * 6, rel=1e-2)
    assert found["method.generator.bias"].tolist() == pytest.approx([0.001] * 3, rel=2e-2)


def test_parameters_without_a_gradient_are_not_moved_by_decay_or_momentum(tmp_path):
    found, _ = moves(Rates({}), tmp_path, weight_decay=0.5, max_steps=3)
    assert not found["idle"].any()


class Tied(FineTuningObjective):
    """Two names for one tensor, as the embeddings and the head of a masked-LM generator are."""

    def __init__(self):
        super().__init__(tiny.model("bert", layers=1, seed=1, hidden_dropout_prob=0.2), TASK)
        self.head = torch.nn.Linear(8, tiny.VOCAB, bias=False)
        self.head.weight = self.model.get_input_embeddings().weight

    def forward(self, **batch):
        terms = super().forward(**batch)
        back = self.head(self.model.get_input_embeddings()(batch["input_ids"])).square().mean()
        return {"loss": terms["loss"] + back, "task": terms["task"], "back": back}

    def tied(self):
        return self.head.weight is self.model.get_input_embeddings().weight


@pytest.mark.parametrize("killed_at", [5, 12])
def test_tied_weights_are_saved_in_checkpoints_and_stay_tied(tmp_path, killed_at):
    whole = Tied()
    expected = run(whole, tmp_path / "whole", evaluate=rising(whole), **LONG)
    killed = dying(Tied(), killed_at)
    with pytest.raises(Kill):
        run(killed, tmp_path / "killed", evaluate=rising(killed), **LONG)
    again = Tied()
    result = run(again, tmp_path / "killed", evaluate=rising(again), **LONG)
    assert result.resumed_from > 0 and result.history == expected.history
    assert torch.equal(weights(again), weights(whole)) and again.tied() and whole.tied()


def test_weights_that_share_memory_come_back_from_a_file(tmp_path):
    one, other = Tied(), Tied()
    with torch.no_grad():
        one.head.weight.add_(1)
    trainer.save_weights(one, tmp_path / "weights.safetensors")
    trainer.load_weights(other, tmp_path / "weights.safetensors")
    assert torch.equal(weights(one), weights(other)) and other.tied()
