"""What tests of token classification share: a batch of tagged words, and small prepared data with two tokenizers."""

from pathlib import Path

import torch

from distill.config.scoring import Evaluate
from distill.data.features import preparation
from distill.data.loading import tokenizer as tokenizers
from distill.data.loading.prepared import Prepared
from distill.data.sources import tagged_texts
from distill.data.synthetic import atlas_entities, json_rows

TAGS = ("O", "B-X", "I-X")
SETTINGS = Evaluate(batch_size=8, precision="fp32", metric=None, n_best=5, max_answer_length=6, extra=[])
#: Labels of three rows of up to six tokens: −100 no word, −1 a word that nobody has tagged.
LABELS = ((-100, 1, -100, 2, 0, -100), (-100, 0, 1, -100, -100, -100), (-100, -1, -100, -1, -100, -100))
LENGTHS = (6, 4, 5)


def batch(labels=LABELS, lengths=LENGTHS) -> dict[str, torch.Tensor]:
    """Rows with these labels; tokens are numbers without meaning, and words tagged 1 or 2 are entities."""
    labels = torch.tensor(labels)
    mask = (torch.arange(labels.shape[1]) < torch.tensor(lengths)[:, None]).long()
    ids = (torch.arange(labels.numel()).view(labels.shape) % 30 + 5) * mask
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "labels": labels,
        "entity": torch.where(mask.bool(), (labels > 0).long(), -1),
        "index": torch.arange(len(labels)),
    }


def prepared(folder: Path, texts: int = 40, length: int = 20, stride: int = 6, transfer: int = 0) -> Prepared:
    """The embedded corpus with windows, and with the features of a teacher whose tokens are others."""
    made = atlas_entities.generate(texts + transfer, 8, 1)
    unlabelled = made["train"][texts:]
    made["train"] = made["train"][:texts]
    paths = json_rows.write(made, folder, "entities")
    columns = tagged_texts.Columns("text", "entities", "id", None)
    tagged = tagged_texts.load_files(dict(zip(made, paths, strict=True)), columns, None)
    rows = tagged.rows | {"selection": tagged.rows["validation"][:4]}
    if transfer:
        (path,) = json_rows.write({"more": unlabelled}, folder, "entities")
        read = tagged_texts.load_files({"train": paths[0], "transfer": path}, columns, None)
        rows["transfer"] = read.rows["transfer"]
    seen = [row["text"] for row in rows["train"]]
    student, teacher = (tokenizers.train(seen, size, lowercase=size > 200) for size in (300, 160))
    meta = {"task": "token_classification", "labels": list(tagged.classes), "scheme": tagged.scheme, "pairs": False}
    preparation.write_words(folder / "data", rows, student, length, stride, meta, readers={"teacher": teacher})
    return Prepared(folder / "data")
