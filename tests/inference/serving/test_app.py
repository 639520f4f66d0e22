"""Requests that are answered and refused, by the application itself, without a server."""

import asyncio
import json
from functools import partial

import pytest

from distill.inference import verbs
from distill.inference.serving.app import Limits, build
from distill.inference.serving.batching import Batcher
from tests.helpers import exported

LIMITS = Limits(bytes=2_000, texts=3, characters=50, queue=6, batch=4, wait=0)


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    model = verbs.load_model(exported.classifier(tmp_path_factory.mktemp("export"), ["no", "yes"]))
    able = {verb.name: verb for verb in verbs.of_task(model.settings.task)}
    asks = {name: partial(verb.ask, model) for name, verb in able.items()}
    batcher = Batcher(asks, LIMITS.batch, LIMITS.wait, LIMITS.queue)
    yield build(able, model.settings, batcher, LIMITS, ["localhost"])
    batcher.close()


def request(app, path: str, body: object = None, host: str = "localhost", kind: str = "application/json"):
    """Status and text of an answer."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET" if body is None else "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", host.encode()), (b"content-type", kind.encode())],
        "scheme": "http",
    }
    sent = []

    async def receive():
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(message):
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:]).decode()


def test_rows_are_answered_or_refused_by_themselves(app):
    status, text = request(app, "/classify", {"rows": [{"text": "w1 w2", "id": "a"}, {"text": " "}, {"text": "w3"}]})
    first, second, third = json.loads(text)["results"]
    assert status == 200 and first["id"] == "a" and set(first["probabilities"]) == {"no", "yes"}
    assert second == {"error": "text: is empty: give a text"} and third["label"] in ("no", "yes")
    status, text = request(app, "/classify", {"rows": [{"text": "w1", "text_pair": "w2"}, {"text": "w1 w2"}]})
    pair, alone = json.loads(text)["results"]
    assert pair == {"error": "the model takes single texts: give one"}
    assert alone == {name: value for name, value in first.items() if name != "id"}


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"{", 422, "Expecting property name"),
        (b"[" * 1_500, 400, "There was an error parsing the body"),
        ({}, 422, "rows: Field required"),
        ({"rows": []}, 422, "rows: List should have at least 1 item"),
        ({"rows": [{"text": "a"}] * 4}, 422, "rows: List should have at most 3 items"),
        ({"rows": [{"text": "a" * 51}]}, 422, "rows.0.text: String should have at most 50 characters"),
        ({"rows": [{"text": 5}]}, 422, "rows.0.text: Input should be a valid string"),
        ({"rows": [{"txt": "a"}]}, 422, "rows.0.text: Field required"),
        ({"rows": [{"text": "a", "more": 1}]}, 422, "rows.0.more: Extra inputs are not permitted"),
        ({"rows": [{"text": "\ud83d"}]}, 422, "rows.0.text: "),
        ({"rows": [{"text": "a", "id": [1]}]}, 422, "rows.0.id"),
        ({"rows": [{"text": "a" * 3_000}]}, 413, "Content Too Large"),
    ],
)
def test_what_is_over_a_limit_or_not_as_described_is_refused_in_a_line(app, body, status, message):
    found, text = request(app, "/classify", body)
    assert found == status and message in text and "\n" not in text and len(text) < 400


def test_other_paths_hosts_and_types_are_refused(app):
    assert request(app, "/answer", {}) == (
        404,
        json.dumps(
            {"error": "no such path: this model has POST /classify; /docs describes them"}, separators=(",", ":")
        ),
    )
    assert request(app, "/health", host="evil.example")[0] == 400
    # A page elsewhere could send this type without asking the browser's leave.
    assert request(app, "/classify", {"rows": [{"text": "a"}]}, kind="text/plain")[0] == 422


def test_a_full_queue_is_said(app, tmp_path):
    model = verbs.load_model(exported.classifier(tmp_path, ["no", "yes"]))
    batcher = Batcher({}, 1, 0, 1)
    batcher.close()
    full = build({verb.name: verb for verb in verbs.of_task("classification")}, model.settings, batcher, LIMITS, None)
    assert request(full, "/classify", {"rows": [{"text": "a"}]}) == (
        503,
        '{"error":"too many texts wait: ask again later"}',
    )


def test_health_and_the_fields_in_openapi(app):
    status, text = request(app, "/health")
    assert status == 200 and json.loads(text) == {
        "status": "ok",
        "waiting": 0,
        "task": "classification",
        "verbs": ["classify"],
        "labels": ["no", "yes"],
    }
    described = app.openapi()
    row = described["components"]["schemas"]["ClassifyRow"]["properties"]
    assert row["text"]["maxLength"] == 50 and row["text"]["description"] == "the text, or the first of a pair"
    assert set(row) == {"id", "text", "text_pair"}
    assert {"label", "labels", "confidence", "probabilities", "value", "id"} == set(
        described["components"]["schemas"]["ClassifyResult"]["properties"]
    )
