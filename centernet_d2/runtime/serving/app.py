"""The endpoints of a server, as an application of ASGI."""

import asyncio
import base64
import io
import json
import logging
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
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response

from ..detections import Detections
from .batching import Batcher
from .drawing import drawn
from .options import Options
from .pictures import Refused, decoded, opened

logger = logging.getLogger(__name__)

PAGE = """<!doctype html><meta charset="utf-8"><title>centernet-d2</title><h1>A detector</h1>
<form action="draw" method="post" enctype="multipart/form-data">
<input type="file" name="pictures" required> <button>Detect</button></form>
<p>POST /detect: pictures in, JSON out; ?threshold=0.3&amp;max=100
<p>POST /draw: a picture in, the same with boxes out, PNG or JPEG by Accept
<p>GET <a href="model">/model</a> <a href="health">/health</a> <a href="ready">/ready</a>
<a href="metrics">/metrics</a> <a href="openapi.json">/openapi.json</a>
<pre>curl --data-binary @photo.jpg ADDRESS/detect
curl -F pictures=@a.jpg -F pictures=@b.jpg ADDRESS/detect</pre>
"""
FORM, JSON = "multipart/form-data", "application/json"
# The bytes of one picture; the last is what curl says of --data-binary.
BODIES = ("", "application/octet-stream", "application/x-www-form-urlencoded")
DRAWN = {"image/png": "PNG", "image/jpeg": "JPEG", "*/*": "PNG", "image/*": "PNG"}


class Choice(BaseModel, extra="forbid"):
    """Which detections are answered."""

    threshold: float = Field(0.3, ge=0, le=1)
    max: int | None = Field(None, ge=1)


async def sent(request: Request, most: int) -> tuple[list[bytes], Any]:
    """Read a request's body: pictures, and the projection of all of them or None."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    camera = None
    try:
        if kind == FORM:
            form: Any
            async with request.form(max_files=most + 1, max_fields=8) as form:
                camera = json.loads(form["projection"]) if "projection" in form else None
                pictures = [await file.read() for file in form.getlist("pictures")]
        elif kind == JSON:
            given = await request.json()
            pictures = [base64.b64decode(text, validate=True) for text in given["pictures"]]
            camera = given.get("projection")
        elif kind in BODIES or kind.startswith("image/"):
            pictures = [await request.body()]
        else:
            raise Refused(415, f"content type {kind!r}: send a picture's bytes, {FORM} or {JSON}")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        told = "give files, or base64 in a list of JSON, as 'pictures'; and JSON as 'projection'"
        raise Refused(400, f"the request cannot be read: {told}") from None
    if not 0 < len(pictures) <= most:
        told = f"give 1 to {most} pictures, as 'pictures' of a form"
        raise Refused(413 if pictures else 400, told)
    return pictures, camera


class Service:
    """A detector, and what of it is in use.

    Attributes:
        stopping: no new request is taken.
    """

    def __init__(self, finder: Any, options: Options) -> None:
        """Set up; `finder` has what a `Detector` has."""
        self.finder, self.options, self.stopping = finder, options, False
        known: dict[str, Any] = {"registry": CollectorRegistry(), "namespace": "centernet"}
        sizes = Histogram("batch_pictures", "At once", buckets=[1, 2, 4, 8, 16, 32, 64], **known)
        self.batcher, self.registry = Batcher(finder, options, sizes.observe), known["registry"]
        accepted = Gauge("accepted_pictures", "In work", **known)
        accepted.set_function(lambda: self.batcher.taken)
        self.requests = Counter("requests", "Answered", ["path", "status"], **known)
        self.seconds = Histogram("request_seconds", "From head to answer", ["path"], **known)

    async def find(
        self, request: Request, choice: Choice, most: int
    ) -> tuple[list[np.ndarray], list[Detections], Any]:
        """Pictures of a request, what is in them, and their projection; or Refused."""
        if self.stopping:
            raise Refused(503, "the server is stopping: ask again later", {"Retry-After": "5"})
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
            raise Refused(504, told) from None
        chosen = [each.above(choice.threshold, choice.max) for each in found]
        return pictures, chosen, camera or self.finder.metadata.get("default_projection")


def make_app(service: Service) -> FastAPI:
    """Build the application of a service."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        work = asyncio.create_task(service.batcher.run())
        yield
        work.cancel()

    options = service.options
    # Pages of documentation would load scripts from elsewhere.
    no_pages: dict[str, Any] = {"docs_url": None, "redoc_url": None}
    app = FastAPI(lifespan=lifespan, **no_pages)
    add_faults(app, service)

    @app.post("/detect", max_body_size=options.max_bytes)
    async def detect(request: Request, choice: Annotated[Choice, Query()]) -> Any:
        pictures, found, camera = await service.find(request, choice, options.max_pictures)
        rows = [
            {"width": each.shape[1], "height": each.shape[0], "detections": of_each.rows()}
            for each, of_each in zip(pictures, found, strict=True)
        ]
        # Which camera was taken is said, as it may be that of the training.
        return {"pictures": rows} | ({"projection": camera} if camera else {})

    @app.post("/draw", max_body_size=options.max_bytes)
    async def draw(request: Request, choice: Annotated[Choice, Query()]) -> Response:
        accepted = request.headers.get("accept", "*/*").lower().split(",")
        form = next((DRAWN[a] for w in accepted if (a := w.split(";")[0].strip()) in DRAWN), None)
        if form is None:
            raise Refused(406, "pictures are sent as image/png or image/jpeg: accept one of them")
        (picture,), (found,), _ = await service.find(request, choice, 1)
        file = io.BytesIO()
        await asyncio.to_thread(lambda: drawn(picture, found).save(file, form))
        return Response(file.getvalue(), media_type=f"image/{form.lower()}")

    @app.get("/ready")
    async def ready() -> Any:
        if service.stopping:
            raise Refused(503, "the server is stopping: ask another one")
        return {"status": "ready"}

    app.get("/")(lambda: HTMLResponse(PAGE))
    app.get("/health")(lambda: {"status": "alive"})
    app.get("/model")(lambda: service.finder.metadata)
    app.get("/metrics")(lambda: PlainTextResponse(generate_latest(service.registry)))
    return app


def add_faults(app: FastAPI, service: Service) -> None:
    """Count and log every request, and let every error be JSON of one sentence."""
    known = {
        404: "there is no such path: GET / lists those that there are",
        405: "this path takes another method: GET / lists them",
        413: f"more than {service.options.max_bytes} bytes: send less, or start with --max-bytes",
    }

    def told(status: int, sentence: str, headers: Any = None) -> Response:
        return JSONResponse({"error": sentence}, status, headers)

    @app.middleware("http")
    async def watched(
        request: Request, answer: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        began, path = time.perf_counter(), request.url.path
        try:
            response = await answer(request)
        except Exception:  # no trace, and no path of this machine, leaves it
            logger.exception("%r failed", path)
            response = told(500, "the server failed: its log says why")
        if response.status_code == 413 and "json" not in response.headers.get("content-type", ""):
            response = told(413, known[413])  # starlette's own is a word
        took, host = time.perf_counter() - began, request.client.host if request.client else "-"
        label = path if request.scope.get("route") else "other"
        service.requests.labels(label, response.status_code).inc()
        service.seconds.labels(label).observe(took)
        logger.info("%s %s %r %d %.3f s", host, request.method, path, response.status_code, took)
        return response

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> Response:
        return told(error.status, str(error), error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return told(400, f"{first['loc'][-1]}: {first['msg']} (there are 'threshold' and 'max')")

    @app.exception_handler(HTTPException)
    async def other(_: Request, error: HTTPException) -> Response:
        sentence = known.get(error.status_code, f"the form cannot be read: {error.detail}")
        return told(error.status_code, sentence, error.headers)
