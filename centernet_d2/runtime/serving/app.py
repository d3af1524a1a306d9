"""The endpoints of a server, as an application of ASGI."""

import asyncio
import base64
import json
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from ..detections import Detections
from . import Options
from .batching import Batcher
from .pictures import decoded, drawn, opened

PAGE = """<!doctype html><meta charset="utf-8"><title>centernet-d2</title>
<form action="draw" method="post" enctype="multipart/form-data">
<input type="file" name="pictures" required> <button>Detect</button></form>
<p>POST /detect (JSON), /draw (a picture): curl --data-binary @photo.jpg .../detect?threshold=0.3
<p>GET <a href="model">/model</a> <a href="health">/health</a> <a href="ready">/ready</a>
<a href="metrics">/metrics</a> <a href="openapi.json">/openapi.json</a>"""
FORM, JSON = "multipart/form-data", "application/json"
# The bytes of one picture; the last is what curl says of --data-binary.
BODIES = ("", "application/octet-stream", "application/x-www-form-urlencoded")


class Choice(BaseModel, extra="forbid"):
    """Which detections are answered."""

    threshold: float = Field(0.3, ge=0, le=1, description="a number from 0 to 1")
    max: int | None = Field(None, ge=1, description="a whole number, 1 or more")


def of_base64(number: int, text: Any) -> bytes:
    """The bytes of a text of base64, also behind the head of a data URL; or HTTPException."""
    try:
        return base64.b64decode(re.sub(r"\Adata:image/[\w.+-]+;base64,", "", text), validate=True)
    except (TypeError, ValueError):
        told = f"picture {number} is no base64: send what `base64 -w0 photo.jpg` prints, in a list"
        raise HTTPException(400, told) from None


async def sent(request: Request, most: int) -> tuple[list[bytes], Any]:
    """Read a request's body: pictures, and the projection of all of them or None."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    form: Any
    names, camera = ["pictures"], None
    try:
        if kind == FORM:
            async with request.form(max_fields=8) as form:
                names = [name for name, _ in form.multi_items()]
                camera = json.loads(form["projection"]) if "projection" in form else None
                pictures = [await file.read() for file in form.getlist("pictures")]
        elif kind == JSON:
            given = await request.json()
            names, camera = list(given), given.get("projection")
            pictures = [of_base64(*each) for each in enumerate(given.get("pictures", ()), 1)]
        elif kind in BODIES or kind.startswith("image/"):
            pictures = [await request.body()]
        else:
            told = f"content type {kind!r}: send a picture's bytes, {FORM} or {JSON}"
            raise HTTPException(415, told)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"the JSON cannot be read: {error}") from None
    except (ClientDisconnect, TypeError, AttributeError):
        told = 'send a form of files as "pictures", or JSON {"pictures": ["<base64>", ...]}'
        raise HTTPException(400, f"the request cannot be read: {told}") from None
    for name in names:
        if name not in ("pictures", "projection") or names.count("projection") > 1:
            told = "a form and JSON have 'pictures' and one 'projection'; threshold and max belong"
            raise HTTPException(400, f"{name[:40]!r}: {told} in the query: ?threshold=0.99")
    if not 0 < len(pictures) <= most:
        told = f"{len(pictures)} pictures: give {'one' if most == 1 else f'1 to {most}'}"
        raise HTTPException(413 if pictures else 400, f"{told}, as 'pictures' of a form or JSON")
    return pictures, camera


class Service:
    """A detector, and what of it is in use; `stopping`: no new request is taken."""

    def __init__(self, finder: Any, options: Options) -> None:
        """Set up; `finder` has what a `Detector` has."""
        self.finder, self.options, self.stopping = finder, options, lambda: False
        known: dict[str, Any] = {"registry": CollectorRegistry(), "namespace": "centernet"}
        sizes = Histogram("batch_pictures", "At once", buckets=[1, 2, 4, 8, 16, 32, 64], **known)
        self.batcher, self.registry = Batcher(finder, options, sizes.observe), known["registry"]
        Gauge("accepted_pictures", "In work", **known).set_function(lambda: self.batcher.taken)
        self.requests = Counter("requests", "Answered", ["path", "status"], **known)
        self.seconds = Histogram("request_seconds", "From head to answer", ["path"], **known)

    async def find(
        self, request: Request, choice: Choice, most: int
    ) -> tuple[list[np.ndarray], list[Detections], bool]:
        """Pictures, what is in them, and whether their camera is a guess; or HTTPException."""
        self.check()
        for name in Choice.model_fields:
            if len(request.query_params.getlist(name)) > 1:
                raise HTTPException(400, f"{name} comes twice: give it once")
        places, limit = self.batcher.places, self.options.max_pixels
        try:
            async with asyncio.timeout(self.options.timeout):
                with ExitStack() as held:
                    held.enter_context(places(1))  # before the body is read
                    contents, camera = await sent(request, most)
                    held.enter_context(places(len(contents) - 1))
                    names = [f"picture {number}" for number in range(1, len(contents) + 1)]
                    images = [opened(c, limit, n) for c, n in zip(contents, names, strict=True)]
                    held.enter_context(places(0, sum(i.width * i.height for i in images)))
                    both = zip(images, names, strict=True)
                    pictures = [await asyncio.to_thread(decoded, *each) for each in both]
                    found = await self.batcher.detect(pictures, camera)
        except TimeoutError:
            told = f"not done in {self.options.timeout:g} s: send less, or start with --timeout"
            raise HTTPException(504, told) from None
        chosen = [each.above(choice.threshold, choice.max) for each in found]
        return pictures, chosen, camera is None and "default_projection" in self.finder.metadata

    def check(self) -> dict[str, str]:
        """Whether requests are taken; HTTPException where they are not."""
        if self.stopping():
            told = "the server is stopping: ask again later"
            raise HTTPException(503, told, {"Retry-After": "5"})
        return {"status": "ready"}


def make_app(service: Service) -> FastAPI:
    """Build the application of a service."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        work = asyncio.create_task(service.batcher.run())
        yield
        work.cancel()

    options = service.options
    # Pages of documentation would load scripts from elsewhere.
    app = FastAPI(title="centernet-d2", lifespan=lifespan, docs_url=None, redoc_url=None)
    add_faults(app, service)

    @app.post("/detect", max_body_size=options.max_bytes)
    async def detect(request: Request, choice: Annotated[Choice, Query()]) -> Any:
        pictures, found, guessed = await service.find(request, choice, options.max_pictures)
        rows = [
            {"width": each.shape[1], "height": each.shape[0], "detections": of_each.rows()}
            for each, of_each in zip(pictures, found, strict=True)
        ]
        note = "no projection was given: that of the training is taken, scaled to the picture"
        return {"pictures": rows} | ({"note": note} if guessed else {})

    @app.post("/draw", max_body_size=options.max_bytes)
    async def draw(request: Request, choice: Annotated[Choice, Query()]) -> Response:
        accepted = request.headers.get("accept", "")
        form = "JPEG" if "image/jpeg" in accepted and "image/png" not in accepted else "PNG"
        (picture,), (found,), _ = await service.find(request, choice, 1)
        content = await asyncio.to_thread(drawn, picture, found, form)
        return Response(content, media_type=f"image/{form.lower()}")

    def get(path: str, answer: Callable[[], Any]) -> None:
        app.get(path)(answer)
        app.head(path, include_in_schema=False)(answer)

    get("/", lambda: HTMLResponse(PAGE))
    get("/health", lambda: {"status": "alive"})
    get("/ready", service.check)
    get("/model", lambda: service.finder.metadata)
    get("/metrics", lambda: PlainTextResponse(generate_latest(service.registry)))
    return app


def add_faults(app: FastAPI, service: Service) -> None:
    """Count and log every request, and let every error be JSON of one sentence."""
    logger, most = logging.getLogger(__name__), service.options.max_bytes
    known = {
        400: "the form cannot be read: send it anew",
        404: "there is no such path: GET / lists those that there are",
        413: f"more than {most} bytes: send less, or start with --max-bytes",
    }

    @app.middleware("http")
    async def watched(request: Request, answer: Callable[..., Awaitable[Response]]) -> Response:
        began, path = time.perf_counter(), request.url.path
        try:
            response = await answer(request)
        except Exception:  # no trace, and no path of this machine, leaves it
            logger.exception("%r failed", path)
            response = JSONResponse({"error": "the server failed: its log says why"}, 500)
        if response.status_code == 413 and "json" not in response.headers["content-type"]:
            response = JSONResponse({"error": known[413]}, 413)
        took, host = time.perf_counter() - began, request.client.host if request.client else "-"
        label = path if request.scope.get("route") else "other"
        service.requests.labels(label, response.status_code).inc()
        service.seconds.labels(label).observe(took)
        logger.info("%s %s %r %d %.3f s", host, request.method, path, response.status_code, took)
        return response

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        name, given = str(first["loc"][-1])[:40], str(first["input"])[:40]
        told = f"{name!r} is no parameter: there are 'threshold' and 'max'"
        if field := Choice.model_fields.get(name):
            told = f"{name} is {given!r}: give {field.description}"
        return JSONResponse({"error": told}, 400)

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> Response:
        # Ours name a cure behind a colon; those of the libraries are a word.
        told = error.detail if ":" in error.detail else known.get(error.status_code, error.detail)
        if error.status_code == 405 and error.headers:
            told = f"this path takes {error.headers['Allow']}: GET / lists all"
        return JSONResponse({"error": told}, error.status_code, error.headers)
