"""A teacher's outputs on the tokens of a student with another tokenizer."""

import json
from pathlib import Path

import datasets
import hypothesis
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from distill.data.features import preparation, question_features
from distill.data.loading.prepared import Prepared
from distill.data.loading.tokenizer import load
from distill.data.loading.tokenizer import train as train_wordpiece
from distill.data.sources.squad_json import load_squad_json
from distill.errors import UserError
from distill.models.predict import layout
from distill.signals import other_tokens
from distill.signals.cache import Array, Cache, Writer, complete
from distill.signals.log_probabilities import FLOOR
from distill.signals.other_tokens import Moved, Window, move, questions, serving
from distill.tasks.base import Predicted
from distill.tasks.qa import QuestionAnswering

WILD = "Zürich’s “naïve” café — 東京タワー 3.14€ 👩‍👩‍👧 e\u0301tude \u200bzero\u0007bell ﬁne Ⅷ İstanbul  two  spaces"


def byte_level(texts: list[str], size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE with the template and the options of RoBERTa's and ModernBERT's."""
    backend = Tokenizer(models.BPE())
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(texts, trainer)
    backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        cls_token="<s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        model_input_names=["input_ids", "attention_mask"],
    )


def sentencepiece(texts: list[str], size: int) -> PreTrainedTokenizerFast:
    """A unigram model with the normaliser and the word boundaries of SentencePiece's."""
    backend = Tokenizer(models.Unigram())
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("\u200b", "")])
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    trainer = trainers.UnigramTrainer(vocab_size=size, special_tokens=special, unk_token="[UNK]", show_progress=False)
    backend.train_from_iterator(texts, trainer)
    names = [(name, backend.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1", special_tokens=names
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]", unk_token="[UNK]"
    )


def row(name: str, context: str, question: str = "what is it?") -> dict:
    return {"id": name, "title": "", "context": context, "question": question} | {
        "answers": {"text": [], "answer_start": []}
    }


def features(rows: list[dict], tokenizer, max_length: int, stride: int) -> datasets.Dataset:
    return datasets.Dataset(pa.Table.from_batches(question_features.encode(rows, tokenizer, max_length, stride)))


def peaked(windows: list[Window], seed: int) -> list[np.ndarray]:
    """Probabilities of each window's tokens: a little everywhere, and much on a few."""
    generator = np.random.default_rng(seed)
    return [other_tokens.softmax(generator.normal(0, 3, (len(window.starts), 2))) for window in windows]


def moved_over(teacher: datasets.Dataset, student: datasets.Dataset, probabilities=peaked):
    """(teacher's windows, their probabilities, student's window, its mass) of every window of the student."""
    for number, (theirs, ours) in enumerate(zip(questions(teacher), questions(student), strict=True)):
        given = probabilities(theirs, number)
        span = ours[0].characters[0], ours[-1].characters[1]
        for window in ours:
            moved = Moved()
            yield theirs, given, window, move(theirs, given, window, span, moved), moved


def check_mass(teacher: datasets.Dataset, student: datasets.Dataset) -> Moved:
    """All mass is on the window's context and its cls token, and adds up."""
    total = Moved()
    for theirs, given, window, mass, moved in moved_over(teacher, student):
        source = theirs[serving(theirs, window)[0]]
        assert np.abs(mass.sum(axis=0) - 1).max() < 1e-6
        places = np.arange(len(window.starts))
        elsewhere = (window.starts < 0) & (places != window.cls)
        assert (mass[elsewhere] == 0).all() and (mass >= 0).all()
        no_answer = given[serving(theirs, window)[0]][source.starts < 0].sum(axis=0)
        assert np.abs(mass[window.cls] - no_answer - moved.outside).max() < 1e-6
        for name in ("windows", "outside", "characters", "unreached"):
            setattr(total, name, getattr(total, name) + getattr(moved, name))
    return total


def holds(window: Window, place: int) -> bool:
    """Whether a token holds a character of the context."""
    return window.starts[place] < window.ends[place]


def is_boundary(window: Window, character: int, edges: np.ndarray) -> bool:
    """Whether a token begins, or ends, at a character, and none reaches across.

    Args:
        edges: `window.starts` or `window.ends`.
    """
    across = (window.starts < character) & (character < window.ends)
    held = (window.starts < window.ends) & (edges == character)
    return bool(held.any()) and not across.any()


def check_spans(teacher: datasets.Dataset, student: datasets.Dataset, contexts: list[str]) -> int:
    """A certain span of the teacher is that of the student wherever both have boundaries there; returns how many."""
    compared = 0
    for number, (theirs, ours) in enumerate(zip(questions(teacher), questions(student), strict=True)):
        span = ours[0].characters[0], ours[-1].characters[1]
        generator = np.random.default_rng(number)
        for window in ours:
            source = theirs[serving(theirs, window)[0]]
            places = np.arange(source.context.start, source.context.stop)
            if not len(places):
                continue
            first, last = np.sort(generator.choice(places, 2))
            given = [np.full((len(own.starts), 2), 1e-9) for own in theirs]
            given[serving(theirs, window)[0]][[first, last], [0, 1]] = 1.0
            mass = move(theirs, given, window, span, Moved())
            begin, end = source.starts[first], source.ends[last]
            if not (holds(source, first) and holds(source, last)):
                continue  # a token for a space
            if not (is_boundary(window, begin, window.starts) and is_boundary(window, end, window.ends)):
                continue
            start, stop = mass.argmax(axis=0)
            assert contexts[number][window.starts[start] : window.ends[stop]] == contexts[number][begin:end]
            compared += 1
    return compared


# --- by hand ---------------------------------------------------------------------------------------------------------


def window(spans: list[tuple[int, int]], before: int = 2) -> Window:
    """A window with `before` tokens in front of its context, the cls token first, and one behind."""
    outside = [(-1, -1)]
    starts, ends = np.array([*outside * before, *spans, *outside]).T
    return Window(starts, ends, 0)


def taught(teacher: Window, probabilities: dict[int, tuple[float, float]], student: Window) -> tuple[np.ndarray, Moved]:
    given = np.zeros((len(teacher.starts), 2))
    for place, values in probabilities.items():
        given[place] = values
    moved = Moved()
    return move([teacher], [given], student, student.characters, moved), moved


def test_mass_goes_to_the_tokens_that_hold_the_first_and_the_last_character():
    words, pieces = window([(0, 3), (4, 9)]), window([(0, 1), (1, 3), (4, 6), (6, 9)])
    mass, _ = taught(words, {0: (0.1, 0.1), 2: (0.6, 0.2), 3: (0.3, 0.7)}, pieces)
    np.testing.assert_allclose(mass, [[0.1, 0.1], [0, 0], [0.6, 0], [0, 0.2], [0.3, 0], [0, 0.7], [0, 0]])
    back, _ = taught(pieces, {2: (0.5, 0), 3: (0.2, 0.4), 4: (0.3, 0.1), 5: (0, 0.5)}, words)
    np.testing.assert_allclose(back, [[0, 0], [0, 0], [0.7, 0.4], [0.3, 0.6], [0, 0]])


def test_a_start_on_no_token_goes_to_the_next_one_and_an_end_to_the_one_before():
    """Characters 3 and 4, between two tokens of the student, and 0 and 9 at the edges of the context."""
    teacher, student = window([(0, 1), (1, 3), (3, 4), (4, 5), (5, 9), (9, 10)]), window([(1, 3), (5, 9)])
    mass, moved = taught(teacher, {2: (0.1, 0.1), 4: (0.2, 0.2), 5: (0.3, 0.3), 7: (0.4, 0.4)}, student)
    np.testing.assert_allclose(mass[2:4], [[0.1, 0.6], [0.9, 0.4]])
    assert moved.outside.tolist() == [0, 0]


def test_what_the_window_does_not_have_and_what_is_no_context_goes_to_cls_and_is_counted():
    teacher, first, second = window([(0, 3), (4, 7), (8, 11)]), window([(0, 3), (4, 7)]), window([(4, 7), (8, 11)])
    given = np.array([[0.1, 0.1], [0.2, 0.1], [0.3, 0.4], [0.3, 0.1], [0.1, 0.3], [0.0, 0.0]])
    moved = Moved()
    whole = (0, 11)
    mass = move([teacher], [given], second, whole, moved)
    np.testing.assert_allclose(mass, [[0.6, 0.6], [0, 0], [0.3, 0.1], [0.1, 0.3], [0, 0]])
    np.testing.assert_allclose(moved.outside, [0.3, 0.4])
    np.testing.assert_allclose(move([teacher], [given], first, whole, moved)[0], [0.4, 0.5])
    np.testing.assert_allclose(moved.outside, [0.4, 0.7])
    assert (moved.windows, moved.characters, moved.unreached) == (2, 14, 0)
    assert "2 windows" in moved.describe() and "20.00%" in moved.describe() and "35.00%" in moved.describe()


def test_the_teachers_window_is_the_one_with_most_of_the_text_then_the_one_with_most_around_it():
    left, middle, right = window([(0, 10)]), window([(5, 25)]), window([(0, 30)])
    assert serving([left, middle, right], window([(6, 12)])) == (2, 6)  # both have all of it: 5 and 6 on the short side
    assert serving([left, middle], window([(2, 9)])) == (0, 7)
    assert serving([left, left], window([(2, 9)])) == (0, 7)
    assert serving([left, middle], window([(20, 40)])) == (1, 5)
    assert serving([left], window([])) == (0, 0)


def test_the_text_beyond_the_teachers_window_is_counted():
    _, moved = taught(window([(0, 10)]), {0: (1, 1)}, window([(5, 25)]))
    assert (moved.characters, moved.unreached) == (20, 15) and "75.00% of the text" in moved.describe()


def test_a_window_without_context_gets_all_at_cls():
    mass, moved = taught(window([(0, 3)]), {2: (1.0, 1.0)}, window([]))
    assert mass[0].tolist() == [1.0, 1.0] and moved.outside.tolist() == [1.0, 1.0]
    mass, _ = taught(window([]), {1: (1.0, 1.0)}, window([(0, 3)]))
    assert mass[0].tolist() == [1.0, 1.0]


# --- real tokenizers, real text --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def paragraphs(shared) -> dict[str, dict]:
    """The paragraphs of SQuAD's development set, each with a question."""
    path = shared / "data" / "squad_v2" / "dev-v2.0.json"
    return {item["context"]: item for item in load_squad_json(path, version_2=True)}


@pytest.fixture(scope="module")
def squad(paragraphs) -> list[dict]:
    """Questions on those with the most kinds of characters, and one on wild text."""
    rows = sorted(paragraphs.values(), key=lambda item: -len({sign for sign in item["context"] if ord(sign) > 127}))[
        :40
    ]
    return [*(item | {"answers": {"text": [], "answer_start": []}} for item in rows), row("wild", WILD * 6)]


@pytest.fixture(scope="module")
def real(shared, paragraphs) -> dict[str, PreTrainedTokenizerFast]:
    return {
        "wordpiece": load(str(shared / "models" / "minilm-l6-h384")),
        "sentencepiece": load(str(shared / "models" / "deberta-v3-tokenizer")),
        "bytes": byte_level(list(paragraphs)[::4], 8000),
    }


@pytest.fixture(scope="module")
def windows_of(real, squad):
    return {name: features(squad, tokenizer, 128, 48) for name, tokenizer in real.items()}


PAIRS = [(a, b) for a in ("wordpiece", "sentencepiece", "bytes") for b in ("wordpiece", "sentencepiece", "bytes")]


@pytest.mark.parametrize(("teacher", "student"), PAIRS)
def test_real_tokenizers_conserve_mass_on_real_text(windows_of, teacher, student):
    moved = check_mass(windows_of[teacher], windows_of[student])
    assert moved.windows == len(windows_of[student]) > 40
    if teacher == student:
        # Two byte-level tokens may share a character at the edge of a window.
        assert moved.unreached == 0 and moved.outside.max() < 1e-6 * moved.windows
    else:
        assert 0 < moved.outside.max() < 0.35 * moved.windows and moved.unreached < 0.35 * moved.characters


@pytest.mark.parametrize(("teacher", "student"), PAIRS)
def test_real_tokenizers_keep_the_teachers_spans_on_real_text(windows_of, squad, teacher, student):
    contexts = [item["context"] for item in squad]
    windows = len(windows_of[student])
    assert check_spans(windows_of[teacher], windows_of[student], contexts) > 0.3 * windows


def test_the_same_tokenizer_moves_everything_to_where_it_was(windows_of):
    for theirs, given, ours, mass, _ in moved_over(windows_of["wordpiece"], windows_of["wordpiece"]):
        source = theirs[serving(theirs, ours)[0]]
        expected = np.where(source.starts[:, None] >= 0, given[serving(theirs, ours)[0]], 0)
        np.testing.assert_allclose(mass[ours.context], expected[source.context], atol=1e-12)


# --- wild text -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small() -> dict[str, PreTrainedTokenizerFast]:
    texts = [
        WILD,
        "the tower of the city was painted green in 1907",
        "a b c d e f g h i j k l m n o p q r s t u v w x y z",
    ]
    return {
        "wordpiece": train_wordpiece(texts, 150, lowercase=True),
        "cased": train_wordpiece(texts, 220, lowercase=False),
        "sentencepiece": sentencepiece(texts, 120),
        "bytes": byte_level(texts, 330),
    }


CONTEXTS = st.lists(
    st.one_of(
        st.text(max_size=8),
        st.sampled_from(
            [*WILD.split(), " ", "\u200b", "\u0007", "\u00a0", "\u3000", "👩‍👩‍👧", "ǅ", "ß", "ﬁ", "\u0301"]
        ),
    ),
    min_size=1,
    max_size=30,
).map(" ".join)
KINDS = st.sampled_from(["wordpiece", "cased", "sentencepiece", "bytes"])


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(context=CONTEXTS, teacher=KINDS, student=KINDS, length=st.integers(40, 80))
def test_wild_text_conserves_mass_and_keeps_spans(small, context, teacher, student, length):
    rows = [row("1", context, "x?")]
    theirs, ours = (features(rows, small[name], length, 12) for name in (teacher, student))
    check_mass(theirs, ours)
    check_spans(theirs, ours, [context])


# --- whole splits ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, small) -> Prepared:
    """Questions in the tokens of two, split `transfer` among them."""
    folder = tmp_path_factory.mktemp("two") / "prepared"
    rows = [row(f"{number}", f"{WILD} number {number} " * (1 + number % 3)) for number in range(6)]
    splits = {"train": rows[:3], "selection": rows[3:4], "transfer": rows[4:]}
    readers = {"teacher": small["bytes"]}
    preparation.write(folder, splits, small["wordpiece"], 64, 16, {"task": "qa", "version_2": True}, readers=readers)
    return Prepared(folder)


def logits_over(table: datasets.Dataset, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    offsets = layout(table, per_token=True)
    return np.random.default_rng(seed).normal(0, 3, (offsets[-1], 2)).astype(np.float32), offsets


def test_a_split_is_moved_to_the_students_features(prepared):
    own = prepared.read_by("teacher")
    logits, offsets = logits_over(own.features("selection"))
    theirs = Predicted(own.examples("selection"), own.features("selection"), logits, offsets, own.meta)
    ours = other_tokens.predicted(theirs, prepared, "selection")
    assert ours.offsets.tolist() == layout(prepared.features("selection"), True).tolist()
    assert ours.logits.dtype == np.float32 and len(ours.logits) == ours.offsets[-1] != len(logits)
    assert ours.logits.min() == np.float32(np.log(FLOOR))
    for begin, end in zip(ours.offsets[:-1], ours.offsets[1:], strict=True):
        total = np.exp(ours.logits[begin:end].astype(np.float64)).sum(axis=0)
        assert np.abs(total - 1).max() < 1e-6 + (end - begin) * FLOOR
    scores = QuestionAnswering().score(ours, SETTINGS)
    assert set(scores) >= {"em", "f1"}


class SETTINGS:
    n_best, max_answer_length = 5, 30


def test_the_cache_has_the_rows_of_all_splits_that_are_taught(prepared, tmp_path):
    own = prepared.read_by("teacher")
    tables = [own.features(split) for split in ("train", "transfer")]
    parts = [logits_over(table, seed)[0] for seed, table in enumerate(tables)]
    offsets = layout(datasets.concatenate_datasets(tables), per_token=True)
    identity = {"data": "d", "tokenizer": "t", "teacher": "w"}
    source = Writer(tmp_path / "windows", offsets, {"logits": Array(2, True)})
    for number, values in enumerate(np.split(np.concatenate(parts), offsets[1:-1])):
        source.write(np.array([number]), {"logits": values[None]})
    source.finish(identity)
    moved = other_tokens.write_windows(tmp_path / "logits", tmp_path / "windows", prepared, own, identity)
    cache = Cache.open(complete(tmp_path / "logits"), identity)
    assert moved.windows == len(cache.offsets) - 1
    row_number = 0
    for split, values in zip(("train", "transfer"), parts, strict=True):
        table = own.features(split)
        theirs = Predicted(own.examples(split), table, values, layout(table, True), own.meta)
        ours = other_tokens.predicted(theirs, prepared, split)
        for begin, end in zip(ours.offsets[:-1], ours.offsets[1:], strict=True):
            found = cache.rows("logits", [row_number], int(end - begin))[0]
            np.testing.assert_array_equal(found, ours.logits[begin:end])
            row_number += 1
    assert row_number == moved.windows


def test_rows_of_texts_stay_as_they_are(tmp_path, small):
    rows = [{"id": str(n), "text": f"{WILD} {n}", "text_pair": None, "label": n % 2} for n in range(5)]
    meta = {"task": "classification", "labels": ["a", "b"], "pairs": False}
    splits = {"train": rows, "selection": rows[:2]}
    readers = {"teacher": small["bytes"]}
    preparation.write_texts(tmp_path / "prepared", splits, small["wordpiece"], 64, False, meta, readers=readers)
    data = Prepared(tmp_path / "prepared")
    own = data.read_by("teacher")
    assert own.features("train")["input_ids"] != data.features("train")["input_ids"]
    logits = np.arange(10, dtype=np.float32).reshape(5, 2)
    theirs = Predicted(own.examples("train"), own.features("train"), logits, np.arange(6), own.meta)
    ours = other_tokens.predicted(theirs, data, "train")
    assert ours.features is data.features("train") or ours.features[:] == data.features("train")[:]
    np.testing.assert_array_equal(ours.logits, logits)
    with pytest.raises(UserError, match="of other texts: run `dvc repro prepare`"):
        other_tokens.check_rows(own.features("selection"), data.features("train"))
    assert json.loads((Path(data.folder) / "meta.json").read_text())["readers"]
