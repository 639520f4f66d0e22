"""The formulas of the methods, written out row by row over the real tokens alone: no masks, no library helpers."""

import torch

from tests.helpers import tiny


def lengths(batch):
    return batch["attention_mask"].sum(1).tolist()


def log_p(logits):
    """Log-probabilities over the one axis."""
    return logits - logits.exp().sum().log()


def task(logits, batch, smoothing=0.0):
    """(CE_start + CE_end) / 2, the target smoothed evenly over the real tokens."""
    total = 0.0
    for side, column in enumerate(("start_positions", "end_positions")):
        for row, length in enumerate(lengths(batch)):
            row_log_p = log_p(logits[row, :length, side])
            gold = row_log_p[batch[column][row]]
            total = total - (1 - smoothing) * gold - smoothing * row_log_p.sum() / length
    return total / (2 * len(logits))


def soft(student, teacher, batch, temperature):
    """T² · KL(teacher/T ‖ student/T), mean over rows and over start and end."""
    total = 0.0
    for side in (0, 1):
        for row, length in enumerate(lengths(batch)):
            s = log_p(student[row, :length, side] / temperature)
            t = log_p(teacher[row, :length, side] / temperature)
            total = total + temperature**2 * (t.exp() * (t - s)).sum()
    return total / (2 * len(student))


def mse(a, b, batch, mask=True):
    """Σ (a − b)² over real tokens and width, by their number; without mask over padding too."""
    rows = [(row, length if mask else a.shape[1]) for row, length in enumerate(lengths(batch))]
    total = sum(((a[row, :length] - b[row, :length]) ** 2).sum() for row, length in rows)
    return total / (sum(length for _, length in rows) * a.shape[-1])


def outputs(model, batch):
    """(logits, hidden states) of a float64 model called by itself."""
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    if model.config.model_type == "distilbert":
        inputs.pop("token_type_ids")
    found = model(**inputs, output_hidden_states=True)
    return torch.stack((found.start_logits, found.end_logits), -1), found.hidden_states


def pair(student_kind="bert", teacher_kind="deberta-v2"):
    """Student of 2 layers × 8 and teacher of 4 × 12, each with a copy in float64."""
    student = tiny.model(student_kind, layers=2, width=8, seed=1)
    teacher = tiny.model(teacher_kind, layers=4, width=12, seed=2)
    return student, teacher, tiny.double(student), tiny.double(teacher).eval()


def same_value(found, expected, temperature=1):
    """A term of the loss. T² multiplies float32's rounding of the distributions that a soft term compares."""
    torch.testing.assert_close(
        found.detach().double(), expected.detach(), rtol=2e-5, atol=1e-6 + 1e-7 * (temperature**2 - 1)
    )


def same_gradients(module, reference, temperature=0):
    """Every parameter's gradient, compared at the scale of the whole gradient, and of what it is a difference of.

    The gradient of T²·KL in a logit is T times the difference of two probabilities. Where these nearly agree it is
    small, but each is rounded to float32: what is left of a sum that is zero is T times such roundings. 0: no soft term
    whose rounding counts.
    """
    rounding = torch.finfo(torch.float32).eps * temperature
    assert any(parameter.grad is not None for parameter in module.parameters())
    scale = max(p.grad.abs().max().item() for p in reference.parameters() if p.grad is not None)
    for (name, own), expected in zip(module.named_parameters(), reference.parameters(), strict=True):
        if expected.grad is None:
            assert own.grad is None or not own.grad.any(), name
            continue
        torch.testing.assert_close(
            own.grad.double(),
            expected.grad,
            rtol=1e-3,
            atol=1e-5 * scale + rounding,
            msg=lambda text, name=name: f"{name}: {text}",
        )


def teacher_is_left_alone(objective, teacher, student):
    """Evaluation mode under no_grad, no gradient, and not among what is trained or saved."""
    assert objective.training and student.training and not any(m.training for m in teacher.modules())
    assert not any(p.requires_grad or p.grad is not None for p in teacher.parameters())
    owned = {id(p) for p in objective.parameters()}
    assert not any(id(p) in owned for p in teacher.parameters())
    assert all(name.startswith(("student.", "method.")) for name in objective.state_dict())
