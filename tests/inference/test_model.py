"""What is loaded from which folder, and logits in the order of the rows."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import AutoModelForSequenceClassification, BertConfig, BertModel

from distill.errors import UserError
from distill.export import onnx
from distill.inference import answer, classify
from distill.inference.model import batches, load
from distill.models import loading
from distill.models.forward import forward_pass, freeze
from distill.tasks.registry import load_task
from tests.helpers import families, micro, tiny

SETTINGS = {
    "task": "qa",
    "max_length": 32,
    "doc_stride": 4,
    "n_best": 5,
    "max_answer_length": 4,
    "threshold": 0.5,
    "pairs": True,
    "temperature": 1.5,
    "labels": [],
    "offsets": None,
    "thresholds": None,
    "scheme": None,
    "int8_runtimes": None,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A checkpoint, and what the export makes of it (without int8)."""
    root = tmp_path_factory.mktemp("models")
    model = freeze(tiny.model("bert", layers=1))
    for name in ("checkpoint", "exported"):
        tiny.tokenizer().save_pretrained(root / name)
    model.save_pretrained(root / "checkpoint")
    onnx.write(model, True, ["input_ids", "token_type_ids", "attention_mask"], root / "exported" / "model.onnx")
    (root / "exported" / "task.json").write_text(json.dumps(SETTINGS))
    return root


def table(rows: int = 37) -> pa.Table:
    return tiny.features(rows).data.table.combine_chunks()


def test_logits_of_every_row_are_those_of_the_row_alone(folders):
    task, checkpoint = load_task("qa"), load(str(folders / "checkpoint"), defaults=SETTINGS)
    exported, features = load(str(folders / "exported")), table()
    found, offsets = checkpoint.logits(features)
    assert found.dtype == np.float32 and offsets.tolist() == [0, *np.cumsum(features.column("length"))]
    np.testing.assert_allclose(exported.logits(features)[0], found, atol=2e-5)
    model = loading.from_pretrained(str(folders / "checkpoint"), task).eval()
    for i, row in enumerate(features.to_pylist()):
        batch = {name: torch.tensor([row[name]]) for name in ("input_ids", "token_type_ids")}
        with torch.no_grad():
            alone = forward_pass(model, task, batch | {"attention_mask": torch.ones_like(batch["input_ids"])}).logits[0]
        np.testing.assert_allclose(found[offsets[i] : offsets[i + 1]], alone.numpy(), atol=1e-5)


@pytest.mark.parametrize("size", [1, 5, 100])
def test_batches_hold_every_row_once_longest_first_and_padded(size):
    features, seen = table(), []
    for rows, batch in batches(features, 39, size):
        for row, ids, kinds, real in zip(
            rows, batch["input_ids"], batch["token_type_ids"], batch["attention_mask"], strict=True
        ):
            length = features.column("length")[int(row)].as_py()
            assert ids.tolist()[:length] == features.column("input_ids")[int(row)].as_py()
            assert kinds.tolist()[:length] == features.column("token_type_ids")[int(row)].as_py()
            assert set(ids[length:]) <= {39} and set(kinds[length:]) <= {0}
            assert real.tolist() == [1] * length + [0] * (len(real) - length)
            seen.append((-length, int(row)))
        assert {array.dtype for array in batch.values()} == {np.dtype(np.int64)}
    assert seen == sorted(seen) and sorted(row for _, row in seen) == list(range(len(features)))


def test_an_exported_folder_knows_how_it_is_asked(folders):
    model = load(str(folders / "exported"), defaults={"n_best": 99})
    assert model.settings.model_dump() == SETTINGS
    assert load(str(folders / "exported"), overrides={"threshold": None}).settings.threshold is None
    assert model.tokenizer.cls_token_id == tiny.tokenizer().cls_token_id


def test_a_checkpoint_is_asked_as_usual_and_no_longer_than_it_can_read(folders):
    usual = SETTINGS | {"max_length": 500}
    settings = load(str(folders / "checkpoint"), defaults=usual, overrides={"n_best": 9}).settings
    assert settings.model_dump() == usual | {"max_length": 64, "n_best": 9}


def test_an_exported_model_runs_without_torch(folders):
    code = (
        "import sys; from distill.inference import answer, model as loaded;"
        f"model = loaded.load({str(folders / 'exported')!r});"
        "print(len(answer.answer(model, [('w1?', 'w2 w3')])), 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=micro.environment(PYTHONPATH="src"),
        cwd=micro.ROOT,
    )
    assert done.stdout.split() == ["1", "False"], done.stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "other"}, r"task.json: task: 'other'"),
        ({"more": 1}, r"task.json: more: 1"),
        ({"max_length": 0}, r"task.json: max_length: 0"),
        ({"temperature": 0}, r"task.json: temperature: 0"),
        ("{", r"task.json: cannot be read"),
        ("[" * 100_000, r"task.json: cannot be read \(brackets are nested too deep\)"),
        ('{"n_best": ' + "2" * 5_000 + "}", r"task.json: cannot be read \(has a number of more than 4,300 digits\)"),
        ([], r"task.json: no JSON object"),
    ],
)
def test_damaged_settings_are_refused(folders, tmp_path, changes, message):
    folder = shutil.copytree(folders / "exported", tmp_path / "exported")
    content = changes if isinstance(changes, str) else json.dumps(changes and SETTINGS | changes)
    (folder / "task.json").write_text(content)
    with pytest.raises(UserError, match=message):
        load(str(folder))


def test_missing_and_damaged_files_are_named(folders, tmp_path):
    with pytest.raises(UserError, match=r"model\.int8\.onnx: missing: export\.int8 is none, or int8 loses more"):
        load(str(folders / "exported"), int8=True)
    with pytest.raises(UserError, match="is no exported folder"):
        load(str(folders / "checkpoint"), int8=True)
    with pytest.raises(UserError, match="nowhere: cannot be loaded"):
        load(str(tmp_path / "nowhere"))
    folder = shutil.copytree(folders / "exported", tmp_path / "exported")
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes()[:-200])
    with pytest.raises(UserError, match=r"model\.onnx: cannot be loaded"):
        load(str(folder))
    shutil.copyfile(folders / "exported" / "model.onnx", folder / "model.onnx")
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match="its tokenizer cannot be loaded"):
        load(str(folder))


def test_a_model_without_a_head_is_refused(tmp_path):
    BertModel(
        BertConfig(vocab_size=tiny.VOCAB, hidden_size=8, num_attention_heads=2, intermediate_size=8)
    ).save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    with pytest.raises(UserError, match="architectures: BertModel: neither a head for questions nor one for classes"):
        load(str(tmp_path))


@pytest.mark.parametrize(
    ("family", "stated", "longest"),
    [
        ("bert", 40, 40),
        # Positions begin behind the padding's, whose id is 1.
        ("roberta", 42, 40),
        ("mpnet", 42, 40),
        ("longformer", 50, 48),
        ("data2vec-text", 42, 40),
        ("ibert", 42, 40),
        ("xlm-roberta-xl", 42, 40),
        ("xmod", 42, 40),
        ("camembert", 42, 40),
        ("roformer", 40, 40),
        ("xlnet", None, 512),  # relative positions without an end; its configuration says -1
    ],
)
@pytest.mark.parametrize("name", ["classification", "qa"])
def test_long_texts_are_cut_to_what_the_model_has_positions_for(tmp_path, family, stated, longest, name):
    task = load_task(name, labels=("a", "b") if name == "classification" else ())
    fields = {} if stated is None else {"max_position_embeddings": stated}
    families.model(family, task, pad_token_id=1, **fields).save_pretrained(tmp_path)
    families.tokenizer(family, pad="[UNK]").save_pretrained(tmp_path)
    model = load(str(tmp_path), defaults=answer._DEFAULTS if name == "qa" else classify._DEFAULTS)
    assert model.settings.max_length == min(longest, 384 if name == "qa" else 512)
    text = "w1 w2 w3 w4 w5 " * 200
    if name == "qa":
        (result,) = answer.answer(model, [("w1 w2", text)])
        assert len(result.candidates) == 20 and all(0 <= c.start < c.end <= len(text) for c in result.candidates)
    elif family == "xlnet":
        with pytest.raises(UserError, match="puts no cls token"):
            classify.classify(model, [(text, None)])
    else:
        (result,) = classify.classify(model, [(text, None)])
        assert set(result["probabilities"]) == {"a", "b"}


def test_a_pair_is_told_apart_by_token_types_as_in_training(tmp_path):
    """ALBERT's tokenizer lists none in transformers 5, though its template has them."""
    task = load_task("classification", labels=("a", "b"))
    families.model("albert", task).save_pretrained(tmp_path)
    families.tokenizer("albert").save_pretrained(tmp_path)
    model = load(str(tmp_path), defaults=classify._DEFAULTS)
    (result,) = classify.classify(model, [("w1 w2", "w3")])
    ids = torch.tensor([[2, 6, 7, 3, 8, 3]])
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        shares = [
            plain(input_ids=ids, token_type_ids=torch.tensor([kinds])).logits.softmax(-1)[0, 0].item()
            for kinds in ([0, 0, 0, 0, 1, 1], [0] * 6)
        ]
    assert abs(result["probabilities"]["a"] - shares[0]) < 1e-5 < abs(shares[0] - shares[1]) / 10


def test_a_head_that_transformers_would_not_load_is_refused(tmp_path):
    families.model("xlnet", load_task("qa")).save_pretrained(tmp_path)
    families.tokenizer("xlnet").save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace("QuestionAnsweringSimple", "QuestionAnswering"))
    with pytest.raises(UserError, match="XLNetForQuestionAnswering: its head would not be loaded"):
        load(str(tmp_path), defaults=answer._DEFAULTS)
