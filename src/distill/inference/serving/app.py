"""The server's paths: one for each verb of the model, `/health`, and `/docs`, which describes them (OpenAPI)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any, get_args

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, StringConstraints, create_model
from pydantic import Field as Described
from starlette.exceptions import HTTPException as HttpError
from starlette.middleware.trustedhost import TrustedHostMiddleware

from distill.errors import UserError
from distill.inference.model import Settings
from distill.inference.serving.batching import Batcher, QueueFull
from distill.inference.verb import Verb


class Limits(BaseModel):
    """What a server takes.

    Attributes:
        bytes: of a request's body.
        texts: texts of a request.
        characters: characters of a text.
        queue: texts that may wait.
        batch: texts that are answered together.
        wait: milliseconds that a request waits for others.
    """

    model_config = ConfigDict(frozen=True)

    bytes: int
    texts: int
    characters: int
    queue: int
    batch: int
    wait: float


class Error(BaseModel):
    """Why a request, or a row of it, has no answer."""

    error: str


def build(
    verbs: Mapping[str, Verb], settings: Settings, batcher: Batcher, limits: Limits, hosts: list[str] | None
) -> FastAPI:
    """The application.

    Args:
        verbs: what the model can be asked to do.
        batcher: the queue; it is closed at shutdown, after the last request.
        hosts: names by which it may be called, against pages that rebind their own name to this machine; None: any.
    """

    @asynccontextmanager
    async def until_shutdown(app: FastAPI):
        yield
        await asyncio.to_thread(batcher.close)

    app = FastAPI(
        title="distill.serve",
        summary=f"A model for {settings.task}",
        lifespan=until_shutdown,
        max_body_size=limits.bytes,
    )
    if hosts is not None:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False)
    paths = ", ".join(f"POST /{name}" for name in verbs)

    @app.exception_handler(HttpError)
    async def refused(request: Request, error: HttpError) -> JSONResponse:
        detail = (
            f"no such path: this model has {paths}; /docs describes them" if error.status_code == 404 else error.detail
        )
        return JSONResponse({"error": detail}, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return JSONResponse({"error": _line(error)}, 422)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"error": "the model failed: see the server's output"}, 500)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        """Whether the server takes requests, and what of."""
        described = {"task": settings.task, "verbs": list(verbs), "labels": settings.labels}
        return {"status": "ok", "waiting": batcher.waiting} | described

    for verb in verbs.values():
        _add(app, verb, batcher, limits)
    return app


def _add(app: FastAPI, verb: Verb, batcher: Batcher, limits: Limits) -> None:
    """Give the application the path of a verb."""
    request_model, response_model = _models(verb, limits)
    many = [name for name, field in verb.fields.items() if get_args(field.type)]

    async def ask(body) -> JSONResponse:
        rows = [row.model_dump(exclude_none=True) for row in body.rows]
        weight = sum(max(1, *(len(row.get(name, ())) for name in many)) if many else 1 for row in rows)
        if weight > limits.texts:
            raise HTTPException(
                422, f"rows: hold {weight:,} texts, and a request may have {limits.texts:,}: send fewer"
            )
        identifiers = [{"id": row.pop("id")} if "id" in row else {} for row in rows]
        problems = [verb.problem(row) for row in rows]
        good = [row for row, problem in zip(rows, problems, strict=True) if problem is None]
        try:
            answered = iter(await asyncio.wrap_future(batcher.submit(verb.name, good, weight)) if good else ())
        except QueueFull:
            detail = "too many texts wait: ask again later"
            raise HTTPException(503, detail, headers={"Retry-After": "1"}) from None
        results = [next(answered) if problem is None else UserError(problem) for problem in problems]
        told = [{"error": str(result)} if isinstance(result, UserError) else result for result in results]
        return JSONResponse({"results": [a | b for a, b in zip(identifiers, told, strict=True)]})

    ask.__annotations__["body"] = request_model
    responses = {
        200: {"model": response_model},
        413: {"description": f"The body has more than {limits.bytes:,} bytes"},
        422: {"model": Error, "description": "The request is not as described, or over a limit"},
        503: {"model": Error, "description": f"More than {limits.queue:,} texts would wait"},
    }
    app.post(f"/{verb.name}", summary=verb.summary, responses=responses, response_model=None)(ask)


def _models(verb: Verb, limits: Limits) -> tuple[type[BaseModel], type[BaseModel]]:
    """A verb's request and response."""
    title = verb.name.title()
    text = Annotated[str, StringConstraints(max_length=limits.characters)]
    fields: dict[str, Any] = {"id": (str | int | None, Described(None, description="handed on to the result"))}
    for name, field in verb.fields.items():
        kind = list[text] if get_args(field.type) else text
        default = ... if field.required else None
        fields[name] = (kind if field.required else kind | None, Described(default, description=field.description))
    strict = ConfigDict(extra="forbid")
    row = create_model(f"{title}Row", __config__=strict, **fields)
    rows = Annotated[list[row], Described(min_length=1, max_length=limits.texts)]
    request = create_model(f"{title}Request", __config__=strict, rows=(rows, ...))
    identified = create_model(f"{title}Result", __base__=verb.result, id=(str | int | None, None))
    refused = create_model(f"{title}Refusal", __base__=Error, id=(str | int | None, None))
    response = create_model(f"{title}Response", results=(list[identified | refused], ...))
    return request, response


def _line(error: RequestValidationError) -> str:
    """The first problem, in a line; without the value, which may be long."""
    problem = error.errors()[0]
    place = ".".join(str(part) for part in problem["loc"][1:])[:200] or "body"
    reason = problem.get("ctx", {}).get("error") if problem["type"] == "json_invalid" else None
    line = f"{place}: {' '.join(str(reason or problem['msg']).split())}"
    return line.encode("ascii", "backslashreplace").decode()
