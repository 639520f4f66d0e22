"""The one trainer: what it logs, keeps and resumes, and that nothing but the training changes the weights."""

import csv
import json
import time

import pytest
import torch

from distill.errors import UserError
from distill.runtime.checkpoints import last_complete
from distill.tasks.registry import load_task
from distill.training import trainer
from distill.training.finetuning import FineTuningObjective
from distill.training.objective import Objective
from distill.training.run import TrainingRun, write_curves
from distill.training.trainer import train
from tests.helpers import tiny

TASK = load_task("qa")


class Probe(Objective):
    """One weight; its loss and terms are functions of the batch, so that means can be worked out by hand."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen, self.progress, self.modes = [], [], []

    def set_progress(self, progress):
        self.progress.append(progress)

    def forward(self, **batch):
        self.seen.append(batch["index"].tolist())
        self.modes.append(self.training)
        mean = batch["index"].float().mean()
        return {"loss": mean + self.weight.sum() * 0, "index": mean, "square": mean**2}


def objective(**fields):
    model = tiny.model("bert", layers=1, seed=1, **fields)
    return FineTuningObjective(model, TASK)


def run(module, folder, features=None, seed=1, checkpoint_steps=2, evaluate=None, on_log=None, **changes):
    return train(
        TrainingRun(
            objective=module,
            features=features or tiny.features(24),
            pad_token_id=0,
            labels=TASK.labels,
            settings=tiny.training(**changes),
            runtime=tiny.runtime(checkpoint_steps),
            seed=seed,
            folder=folder,
            label="test",
            main_metric="f1",
            evaluate=evaluate,
            on_log=on_log,
        )
    )


def weights(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def steps_of(folder):
    return sorted(int(path.name.split("-")[1]) for path in folder.glob("checkpoints/checkpoint-*"))


def test_terms_are_logged_as_means_since_the_last_entry(tmp_path):
    probe, logged = Probe(), []
    result = run(probe, tmp_path, max_steps=6, log_every=3, on_log=lambda values, step: logged.append((step, values)))
    means = [sum(batch) / len(batch) for batch in probe.seen]
    assert [entry["step"] for entry in result.history] == [3, 6]
    for entry, part in zip(result.history, (means[:3], means[3:]), strict=True):
        assert entry["loss"] == pytest.approx(sum(part) / 3, abs=1e-3)
        assert entry["index"] == pytest.approx(sum(part) / 3)
        assert entry["square"] == pytest.approx(sum(m**2 for m in part) / 3)
        assert {"learning_rate", "grad_norm"} <= set(entry)
    assert [step for step, _ in logged] == [3, 6]
    assert logged[0][1] == {k: v for k, v in result.history[0].items() if k != "step"}
    assert (result.steps, result.resumed_from) == (6, 0)


def test_terms_of_accumulated_batches_are_means_too(tmp_path):
    probe = Probe()
    result = run(probe, tmp_path, max_steps=2, log_every=2, gradient_accumulation=4)
    assert [len(batch) for batch in probe.seen] == [1] * 8
    assert result.history[0]["index"] == pytest.approx(sum(batch[0] for batch in probe.seen) / 8)
    assert result.history[0]["loss"] == pytest.approx(result.history[0]["index"], abs=1e-3)


def test_epochs_go_through_every_row_once_in_ever_new_orders(tmp_path):
    probe = Probe()
    result = run(probe, tmp_path, epochs=3, max_steps=None, group_by_length=True)
    assert result.steps == 18
    epochs = [sum(probe.seen[i : i + 6], []) for i in (0, 6, 12)]
    assert all(sorted(epoch) == list(range(24)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


@pytest.mark.parametrize(("epochs", "max_steps", "expected"), [(0.5, None, 3), (2, 5, 5), (1, 9, 9), (1.5, None, 9)])
def test_parts_of_epochs_and_the_limit_on_updates(tmp_path, epochs, max_steps, expected):
    assert run(Probe(), tmp_path, epochs=epochs, max_steps=max_steps).steps == expected


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path):
    results = []
    for number, seed in enumerate((1, 1, 2)):
        module = objective(hidden_dropout_prob=0.2)
        history = run(module, tmp_path / str(number), seed=seed).history
        results.append((weights(module), history))
    assert torch.equal(results[0][0], results[1][0]) and results[0][1] == results[1][1]
    assert not torch.equal(results[0][0], results[2][0])


def scorer(module, log):
    """Scores that rise and fall; evaluates as the stages do: in evaluation mode, without a gradient."""
    values = iter([10.0, 30.0, 20.0])

    def evaluate():
        module.model.eval()
        with torch.no_grad():
            module(**tiny.batch())
        log.append(weights(module))
        return {"f1": next(values), "em": 1.0}

    return evaluate


def test_evaluating_in_the_middle_changes_no_weight_and_no_log_entry(tmp_path):
    outcomes = []
    for count in (0, 3):
        module = objective(hidden_dropout_prob=0.2, attention_probs_dropout_prob=0.2)
        result = run(module, tmp_path / str(count), evaluations=count, evaluate=scorer(module, []))
        outcomes.append((weights(module), [entry for entry in result.history if "loss" in entry]))
    assert torch.equal(outcomes[0][0], outcomes[1][0])
    assert outcomes[0][1] == outcomes[1][1]


@pytest.mark.parametrize(
    ("total", "count", "expected"), [(6, 3, [2, 4, 6]), (7, 2, [4, 7]), (5, 1, [5]), (2, 3, [1, 2])]
)
def test_evaluations_are_evenly_spaced_and_the_last_is_at_the_end(tmp_path, total, count, expected):
    result = run(Probe(), tmp_path, max_steps=total, evaluations=count, evaluate=lambda: {"f1": 1.0})
    assert [entry["step"] for entry in result.history if "selection_f1" in entry] == expected
    assert result.scores == {"f1": 1.0}


def test_seconds_of_scoring_are_counted_apart(tmp_path):
    def evaluate():
        time.sleep(0.2)
        return {"f1": 1.0}

    result = run(Probe(), tmp_path, max_steps=4, evaluations=2, evaluate=evaluate)
    assert 0.4 <= result.scoring_seconds <= result.seconds
    assert run(Probe(), tmp_path / "unscored", max_steps=4).scoring_seconds == 0.0


@pytest.mark.parametrize(("keep", "chosen", "score"), [("best", 1, 30.0), ("last", 2, 20.0)])
def test_what_is_kept(tmp_path, keep, chosen, score):
    module, log = objective(), []
    result = run(module, tmp_path, evaluations=3, keep=keep, evaluate=scorer(module, log))
    assert len(log) == 3 and not torch.equal(log[1], log[2])
    assert torch.equal(weights(module), log[chosen])
    assert result.scores == {"f1": score, "em": 1.0}
    assert [entry["selection_f1"] for entry in result.history if "selection_f1" in entry] == [10.0, 30.0, 20.0]


def test_of_equally_good_weights_the_first_are_kept(tmp_path):
    module, log = objective(), []

    def evaluate():
        log.append(weights(module))
        return {"f1": 5.0}

    run(module, tmp_path, evaluations=3, keep="best", evaluate=evaluate)
    assert torch.equal(weights(module), log[0])


class Kill(Exception):
    """Stands for a kill of the process."""


def dying(module, at):
    """Raises in update `at`."""
    original = module.set_progress

    def set_progress(progress):
        if progress.step == at - 1:
            raise Kill
        original(progress)

    module.set_progress = set_progress
    return module


LONG = {"max_steps": 12, "log_every": 2, "evaluations": 3, "keep": "best", "warmup": 0.25, "batch_size": 4}
DROPOUT = {"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.2}


def rising(module):
    """A score that is a function of the weights, as a real one is."""
    return lambda: {"f1": float(weights(module).double().abs().sum())}


@pytest.mark.parametrize(
    ("killed_at", "precision", "group"), [(2, "fp32", True), (5, "bf16", True), (8, "fp32", True), (12, "fp32", False)]
)
def test_a_resumed_training_gives_the_same_bytes(tmp_path, killed_at, precision, group):
    """24 rows are 6 updates an epoch: kills before the first checkpoint, within and behind the first epoch."""
    settings = LONG | {"precision": precision, "group_by_length": group}
    whole = objective(**DROPOUT)
    expected = run(whole, tmp_path / "whole", evaluate=rising(whole), **settings)

    killed = dying(objective(**DROPOUT), killed_at)
    with pytest.raises(Kill):
        run(killed, tmp_path / "killed", evaluate=rising(killed), **settings)
    again = objective(**DROPOUT)
    torch.manual_seed(99), torch.rand(killed_at)
    result = run(again, tmp_path / "killed", evaluate=rising(again), **settings)
    assert result.resumed_from == (killed_at - 1) // 2 * 2
    assert torch.equal(weights(again), weights(whole))
    assert result.history == expected.history
    assert (result.steps, result.scores) == (expected.steps, expected.scores)
    curves = [tmp_path / name for name in ("whole.csv", "again.csv")]
    write_curves(expected.history, curves[0])
    write_curves(result.history, curves[1])
    assert curves[0].read_bytes() == curves[1].read_bytes()


def test_a_kill_while_a_checkpoint_is_written_costs_that_checkpoint_alone(tmp_path, monkeypatch, capsys):
    whole = objective(**DROPOUT)
    run(whole, tmp_path / "whole", **LONG | {"evaluations": 0, "keep": "last"})
    seal = trainer.checkpoints.seal

    def dying_seal(folder):
        if folder.name == "checkpoint-6":
            raise Kill
        seal(folder)

    with monkeypatch.context() as patch:
        patch.setattr(trainer.checkpoints, "seal", dying_seal)
        with pytest.raises(Kill):
            run(objective(**DROPOUT), tmp_path / "killed", **LONG | {"evaluations": 0, "keep": "last"})
    assert steps_of(tmp_path / "killed")[-1] == 6
    again = objective(**DROPOUT)
    result = run(again, tmp_path / "killed", **LONG | {"evaluations": 0, "keep": "last"})
    assert result.resumed_from == 4
    assert "checkpoint-6 cannot be used" in capsys.readouterr().out
    assert torch.equal(weights(again), weights(whole))


def test_a_killed_evaluation_is_made_again(tmp_path):
    """The best weights may be a step ahead of the newest checkpoint."""
    whole = objective()
    expected = run(whole, tmp_path / "whole", evaluate=rising(whole), **LONG)
    killed = objective()

    def dying_score(calls=[]):  # noqa: B006 (counts)
        calls.append(1)
        if len(calls) == 2:
            raise Kill
        return rising(killed)()

    with pytest.raises(Kill):
        run(killed, tmp_path / "killed", evaluate=dying_score, **LONG)
    again = objective()
    result = run(again, tmp_path / "killed", evaluate=rising(again), **LONG)
    assert result.resumed_from == 6
    assert torch.equal(weights(again), weights(whole)) and result.history == expected.history


def test_checkpoints_are_written_where_the_log_is_and_two_are_kept(tmp_path):
    killed = dying(objective(), 12)
    with pytest.raises(Kill):
        run(killed, tmp_path, checkpoint_steps=3, **LONG | {"evaluations": 0, "keep": "last"})
    assert steps_of(tmp_path) == [4, 8]  # 3 rounded up to a multiple of log_every
    assert last_complete(tmp_path / "checkpoints").name == "checkpoint-8"


@pytest.mark.parametrize("accumulation", [2, 4])
def test_accumulated_updates_equal_those_of_whole_batches(tmp_path, accumulation):
    outcomes = []
    for parts in (1, accumulation):
        module = objective()
        # A large epsilon: some gradients are 0 but for rounding, which Adam would blow up.
        settings = {"batch_size": 8, "gradient_accumulation": parts, "group_by_length": True, "adam_epsilon": 1e-2}
        result = run(module, tmp_path / str(parts), **settings)
        outcomes.append((weights(module), [entry["loss"] for entry in result.history]))
    assert outcomes[1][1] == pytest.approx(outcomes[0][1], rel=1e-4)
    torch.testing.assert_close(outcomes[1][0], outcomes[0][0], rtol=1e-3, atol=1e-4)
    assert not torch.equal(outcomes[0][0], weights(objective()))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_loss_that_is_not_finite_stops_naming_the_term_and_leaves_the_last_checkpoint(tmp_path, value):
    module = objective()
    forward = module.forward

    def broken(**batch):
        terms = forward(**batch)
        return terms | ({"kl": terms["task"] * value, "loss": terms["task"] * value} if len(steps) >= 5 else {})

    steps = []
    module.set_progress, module.forward = steps.append, broken
    with pytest.raises(UserError) as caught:
        run(module, tmp_path, max_steps=8)
    message = str(caught.value)
    assert "\n" not in message and message.startswith("training: step 5: the loss is not finite: kl = ")
    assert "loss =" not in message and "task =" not in message and "learning_rate" in message
    assert last_complete(tmp_path / "checkpoints").name == "checkpoint-4"
    healthy = objective()
    assert run(healthy, tmp_path, max_steps=8).resumed_from == 4


def test_a_nan_in_an_unweighted_term_stops_too(tmp_path):
    module = Probe()
    module.forward = lambda **batch: {"loss": module.weight.sum(), "mse": torch.tensor(float("nan"))}
    with pytest.raises(UserError, match="step 1: .*mse = nan"):
        run(module, tmp_path)


def test_clipping_is_off_at_zero_and_the_norm_is_logged(tmp_path):
    norms = [run(objective(), tmp_path / str(c), max_grad_norm=c, max_steps=2).history for c in (0, 1e-4, 1.0)]
    assert all(entry["grad_norm"] > 0 for history in norms for entry in history)


def test_optimiser_settings_arrive(tmp_path):
    settings = {"learning_rate": 3e-3, "weight_decay": 0.1, "adam_beta1": 0.8, "adam_beta2": 0.95, "adam_epsilon": 1e-6}
    section = tiny.training(**settings, lr_scheduler="cosine", warmup=0.25, max_grad_norm=0.7)
    arguments = trainer._arguments(
        TrainingRun(Probe(), tiny.features(4), 0, TASK.labels, section, tiny.runtime(), 5, tmp_path, "test")
    )
    for name, value in settings.items():
        assert getattr(arguments, name) == value
    assert arguments.lr_scheduler_type == "cosine" and arguments.max_grad_norm == 0.7
    assert [arguments.get_warmup_steps(100), arguments.seed, arguments.data_seed] == [25, 5, 5]
    assert arguments.report_to == [] and not arguments.bf16


def test_curves_are_one_row_per_entry_with_a_loss(tmp_path):
    path = tmp_path / "curves" / "x.csv"
    write_curves(
        [{"step": 2, "loss": 1.23456789, "kl": 2e-9}, {"step": 2, "selection_f1": 3.0}, {"step": 4, "loss": 0.5}], path
    )
    rows = list(csv.reader(path.open()))
    assert rows == [["step", "kl", "loss"], ["2", "2e-09", "1.23457"], ["4", "", "0.5"]]


def test_the_best_weights_are_replaced_in_one_step(tmp_path):
    module = objective()
    trainer.write_best(tmp_path, module, {"f1": 1.0}, 1.0)
    first = weights(module)
    with torch.no_grad():
        module.model.qa_outputs.bias.add_(1)
    trainer.write_best(tmp_path, module, {"f1": 2.0}, 2.0)
    scores, file = trainer.read_best(tmp_path)
    assert scores == {"score": 2.0, "scores": {"f1": 2.0}} and not torch.equal(first, weights(module))
    assert [path.name for path in tmp_path.iterdir()] == ["best"]
    assert json.loads((file.parent / "scores.json").read_text()) == scores
    file.write_bytes(file.read_bytes()[:-1])
    assert trainer.read_best(tmp_path) is None
