"""No message shows a secret of an address."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.tracking import redaction, store

SECRET = {
    "http://t0kenAsUser@host:5000": "t0kenAsUser",
    "http://me:geheim@host:5000/path": "geheim",
    "http://me:ge@heim@host": "heim",
    "http://me:ge/heim@host": "heim",
    "http://me:ge?heim@host": "heim",
    "http://me:ge#heim@host": "heim",
    "http://me:ge heim@host": "heim",
    "http://me:ge%40heim@host": "heim",
    "http://host:5000/?password=geheim": "geheim",
    "http://host:5000/?password=ge@heim&x=1": "heim",
    "http://host/?geheim": "geheim",
    "http://host/#access_token=geheim": "geheim",
    "postgresql+psycopg2://me:geheim@host/db?sslpassword=other": "geheim",
    "mssql://host/db?Uid=me;Pwd=geheim;": "geheim",
}


@pytest.mark.parametrize("uri", SECRET)
def test_an_address_is_shown_without_its_secret(uri, monkeypatch):
    assert SECRET[uri] not in redaction.shown(uri)
    if " " not in uri:  # of an address that the environment does not name, nobody knows where it ends
        assert SECRET[uri] not in redaction.redact(f"tried {uri} twice")
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", uri)
    assert SECRET[uri] not in redaction.redact(f"tried {uri} twice")
    assert redaction.shown(uri).startswith(uri.partition("://")[0] + "://")


@pytest.mark.parametrize("uri", SECRET)
@pytest.mark.parametrize("way", ["whole", "cut", "path", "decoded"])
def test_an_error_that_repeats_a_part_of_the_address_is_shown_without_the_secret(uri, way, monkeypatch):
    """As urllib3 (`Failed to parse: 'me:ge'`, `url: /?password=…`) and drivers of databases do."""
    from urllib.parse import unquote, urlsplit

    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    rest = uri.partition("://")[2]
    part = {"whole": uri, "cut": urlsplit(uri).netloc, "path": rest[rest.find("/") :], "decoded": unquote(rest)}[way]
    line = store.reason(ValueError(f"Failed to parse: '{part}' (url: {part})"))
    assert SECRET[uri] not in line and "ge@" not in line.replace("@host", "")
    assert line.startswith("ValueError: Failed to parse")


@pytest.mark.parametrize(
    "uri",
    [
        "http://127.0.0.1:5000",
        "https://mlflow.example.org/team/a",
        "sqlite:////home/me@work/a root/mlflow.db",
        "file:///home/me@work/mlruns",
        "databricks://profile",
    ],
)
def test_an_address_without_secrets_stays_as_it_is(uri, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert redaction.shown(uri) == uri
    assert redaction.redact(f"in {uri} failed") == f"in {uri} failed"


@pytest.mark.parametrize("name", ["MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "AWS_SECRET_ACCESS_KEY"])
def test_secrets_that_stand_by_themselves_are_not_shown_either(name, monkeypatch):
    monkeypatch.setenv(name, "hunter22")
    assert redaction.redact("401: hunter22 is wrong") == "401: *** is wrong"


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=6, max_size=20))
def test_no_password_of_any_characters_is_shown(password):
    assert redaction.shown(f"http://someone:{password}@h:1/x") in ("http://***@h:1/x", "http://***")
