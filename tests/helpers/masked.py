"""What tests of the masked-LM generator share: tiny generators, batches that say what may be changed."""

import torch
from transformers import AutoConfig, AutoModelForMaskedLM

from distill.methods.base import Distillation, Setup
from distill.signals.teacher import OnlineTeacher
from distill.tasks.registry import load_task
from distill.training import phases
from distill.training.run import TrainingRun
from tests.helpers import text, tiny

SPECIAL = range(5)  # of `tiny.tokenizer`
ARCHITECTURES = ("bert", "roberta", "distilbert", "electra", "deberta-v2")


def generator(kind: str = "bert", layers: int = 1, width: int = 4, seed: int = 3, **fields):
    """A masked language model whose proposals differ from place to place."""
    described = tiny.shape(kind, layers, width) | {"vocab_size": tiny.VOCAB, "pad_token_id": 0} | fields
    torch.manual_seed(seed)
    built = AutoModelForMaskedLM.from_config(AutoConfig.for_model(described.pop("model_type"), **described))
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return built


def task(name: str):
    """The task, with classes where it has any."""
    return load_task(name, labels=list("abc") if name == "classification" else ())


def batch(name: str = "qa", width: int = 24):
    """Three padded rows of [CLS] a a a [SEP] b b … [SEP], the second with another special token in the middle."""
    lengths = (19, 9, 14)
    made = (
        tiny.batch(lengths, width) if name == "qa" else text.batch(name == "regression", lengths=lengths, width=width)
    )
    ids, offsets = made["input_ids"], torch.full_like(made["input_ids"], -1)
    ids[:, 0], ids[:, 4] = 2, 3
    for row, length in enumerate(lengths):
        ids[row, length - 1] = 3
        offsets[row, 5 : length - 1] = 7 * torch.arange(length - 6)
    ids[1, 6] = 1
    made["token_type_ids"] = (offsets >= 0).long()
    if name == "qa":
        made["offset_start"] = offsets
        made["start_positions"], made["end_positions"] = torch.tensor([8, 0, 6]), torch.tensor([10, 0, 6])
        made["gold"] = torch.zeros_like(ids)
        made["gold"][0, 8:11] = made["gold"][2, 6] = 1
    return made


def models(name: str, student: str = "bert", teacher: str = "deberta-v2"):
    """Student of 2 layers × 8 and teacher of 3 × 12 with the task's head."""
    if name == "qa":
        return tiny.model(student, 2, 8, seed=1), tiny.model(teacher, 3, 12, seed=2)
    channels = 3 if name == "classification" else 1
    return text.model(student, 2, 8, 1, channels), text.model(teacher, 3, 12, 2, channels, pooler_dropout=0.0)


def build(method, name: str, student, teacher, proposer, **values) -> Distillation:
    """The objective in training mode."""
    setup = Setup(task(name), student.config, teacher.config, 0, tiny.tokenizer(), generator=proposer)
    built = method(method.Config(**values), setup)
    objective = Distillation(student, built, OnlineTeacher(teacher, setup.task, hidden=False, precision="fp32"))
    return objective.train()


def by_hand(model, name: str, made, embeddings=None):
    """Logits of a float64 model called by itself."""
    inputs = {"attention_mask": made["attention_mask"]}
    inputs |= {"input_ids": made["input_ids"]} if embeddings is None else {"inputs_embeds": embeddings}
    if model.config.model_type != "distilbert":
        inputs["token_type_ids"] = made["token_type_ids"]
    found = model(**inputs)
    return torch.stack((found.start_logits, found.end_logits), -1) if name == "qa" else found.logits


def draw(adversary, made, seed: int):
    """What the adversary does to the batch with this seed, and the noise that it drew: places (B, L), noise (n, V)."""
    torch.manual_seed(seed)
    changed = adversary.changed(made)
    torch.manual_seed(seed)
    with torch.no_grad():
        places = adversary.perturb(made).places
    torch.manual_seed(seed)
    torch.rand(int(adversary.eligible(made).sum()))  # these decide the places
    noise = -torch.empty(int(places.sum()), tiny.VOCAB).exponential_().log()
    return changed, places, noise


def attacked(proposer, model, made, places, noise, temperature: float):
    """Word embeddings of the changed batch in a float64 model, row by row; the gradient reaches the generator."""
    masked = made["input_ids"].clone()
    masked[places] = 4
    logits = proposer(
        input_ids=masked, attention_mask=made["attention_mask"], token_type_ids=made["token_type_ids"]
    ).logits
    table = model.get_input_embeddings().weight
    rows, number = [], 0
    for row in range(len(masked)):
        states = []
        for place in range(masked.shape[1]):
            if not places[row, place]:
                states.append(table[made["input_ids"][row, place]])
                continue
            scores = (logits[row, place, 5:] + noise[number, 5:].double()) / temperature
            soft = scores.exp() / scores.exp().sum()
            hard = torch.zeros_like(soft)
            hard[scores.argmax()] = 1
            states.append((hard - soft.detach() + soft) @ table[5:])
            number += 1
        rows.append(torch.stack(states))
    return torch.stack(rows)


def train(objective, folder, steps: int, stop_before: int | None = None, **changes):
    """Train on the rows of a text task with weight decay.

    Args:
        steps: updates of the student.
        stop_before: end with KeyboardInterrupt before this step of the trainer, counted over all phases.

    Returns:
        What the training left, and for each step of the trainer the parameters by name before it.
    """
    seen: list[dict[str, torch.Tensor]] = []

    def look(module, inputs):
        if stop_before is not None and len(seen) == stop_before:
            raise KeyboardInterrupt
        seen.append({name: value.detach().clone() for name, value in module.named_parameters()})

    hook = objective.register_forward_pre_hook(look)
    section = tiny.training(max_steps=steps, weight_decay=0.1, **changes)
    try:
        given = (text.features(), 0, ("labels",), section, tiny.runtime(), 1, folder, "test", "score")
        weight = objective.student.classifier.weight
        result = phases.train(TrainingRun(objective, *given, evaluate=lambda: {"score": float(weight.detach().sum())}))
    finally:
        hook.remove()
    return result, seen
