"""The web application: the page, the JSON API, and who may use it."""

from __future__ import annotations

import asyncio
import hmac
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from blear import __version__
from blear.errors import BlearError, RunError
from blear.imaging import Box
from blear.models.time_limit import TimeLimitError
from blear.serve.answers import Answer, ErrorAnswer, Facts
from blear.serve.controls import RESERVED, Control, read_setting
from blear.serve.held_bytes import Claim
from blear.serve.limits import TooLargeError, TooSlowError, UploadError, UploadLimits, WrongTypeError
from blear.serve.service import Question, Service

STATIC = Path(__file__).parent / "static"
LOCAL = ("127.0.0.1", "localhost", "::1")
"""Addresses of this machine: a page that is served there needs no token."""
COOKIE = "blear_token"
_IGNORED = 8  # times the largest upload: a larger one is not read to its end
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
_BODY = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}, "required": True}
_ERRORS: dict[int | str, dict[str, Any]] = {
    408: {"model": ErrorAnswer, "description": "the file is sent too slowly"},
    413: {"model": ErrorAnswer, "description": "more than a limit allows"},
    415: {"model": ErrorAnswer, "description": "neither a picture nor a video"},
    422: {"model": ErrorAnswer, "description": "damaged, or a parameter is wrong"},
    503: {"model": ErrorAnswer, "description": "too many uploads at one time"},
    504: {"model": ErrorAnswer, "description": "a model takes too long"},
}


def require_secret(token: str | None) -> None:
    """Raises a RunError where a token is empty, as that of an unset variable: everybody would have it."""
    if token is not None and not token.strip():
        raise RunError("the token is empty", "--token", "give a secret, or leave the option out")


def build_app(build_service: Callable[[], Service], controls: list[Control], token: str | None = None) -> FastAPI:
    """Builds the application.

    Args:
        build_service: builds models and processes when the application starts.
        controls: the controls of the service.
        token: who does not send it is refused; None: only requests to an address of this machine are answered.

    Raises:
        RunError: the token is empty.
    """
    require_secret(token)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.service = build_service()
        yield
        app.state.service.close()

    about = "Emotion recognition in pictures and videos. Each file is decoded in memory; none is kept."
    app = FastAPI(
        title="blear", version=__version__, description=about, lifespan=lifespan, docs_url=None, redoc_url=None
    )
    app.middleware("http")(_guard(token))
    app.exception_handler(BlearError)(_refuse)
    app.exception_handler(RequestValidationError)(_refuse_parameter)
    app.exception_handler(HTTPException)(_refuse_address)

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    @app.get("/docs", include_in_schema=False)
    async def documentation() -> FileResponse:
        return FileResponse(STATIC / "docs.html")

    @app.get("/models", summary="Models and controls")
    async def models(request: Request) -> Facts:
        return _service(request).facts

    extra = {"requestBody": _BODY, "parameters": [_parameter(control) for control in controls]}

    @app.post("/predict", summary="Predict the faces of a picture or a video", responses=_ERRORS, openapi_extra=extra)
    async def predict(
        request: Request,
        faces: Annotated[
            str, Query(pattern="^(detect|crop)$", description="crop: the frames are cut faces")
        ] = "detect",
        box: Annotated[
            list[str] | None, Query(description="a face of a picture, instead of detection: left,top,width,height")
        ] = None,
        show: Annotated[bool, Query(description="add the inputs of the models, as PNG")] = False,
    ) -> Answer:
        """The body of the request is the file: JPEG, PNG, WebP, BMP, GIF, MP4, MOV, WebM, AVI or MPEG.

        The controls degrade each face, in the size of the model's input, before it is predicted.
        """
        service = _service(request)
        setting = read_setting(service.controls, _controls(request))
        boxes = tuple(_box(text) for text in box or ())
        with service.held.claim() as claim:
            if request.headers.get("content-type", "").startswith("multipart/"):
                raise WrongTypeError(
                    "the body is a form", do="send the file itself as the body: curl --data-binary @FILE"
                )
            data = await _body(request, service.limits, claim)
            return await service.answer(data, Question(setting, faces == "crop", boxes, show))

    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return app


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def _controls(request: Request) -> dict[str, str]:
    """The values of the controls in the address of a request.

    Raises:
        UploadError: a control is given twice.
    """
    given: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in RESERVED or name == "token":
            continue
        if name in given:
            raise UploadError(f"{name} is given twice", do="give each control once")
        given[name] = value
    return given


async def _body(request: Request, limits: UploadLimits, claim: Claim) -> bytes:
    """The body of a request.

    Raises:
        UploadError: it is empty, too large or too slow, or the server holds too many bytes.
    """
    try:
        async with asyncio.timeout(limits.receive_s):
            return await _receive(request, limits.bytes, claim)
    except TimeoutError:
        do = "send a smaller file, or use a faster connection"
        raise TooSlowError(f"the file was not sent within {limits.receive_s:g} s", do=do) from None


async def _receive(request: Request, most: int, claim: Claim) -> bytes:
    too_large = TooLargeError(f"the file has more than {most / 1e6:g} MB", do="send a smaller file")
    stated = request.headers.get("content-length", "")
    if stated.isdigit() and int(stated) > _IGNORED * most:
        raise too_large
    data, received = bytearray(), 0
    async for part in request.stream():
        received += len(part)
        if received <= most:
            claim.add(len(part))
            data += part
        elif received > _IGNORED * most:
            raise too_large
    if received > most:  # the rest was read and dropped: a client that still sends would not read the answer
        raise too_large
    if not data:
        raise UploadError("the request has no file", do="send the file as the body of the request")
    return bytes(data)


def _box(text: str) -> Box:
    try:
        numbers = [float(part) for part in text.split(",")]
        if len(numbers) == 4 and all(map(math.isfinite, numbers)) and min(numbers[2:]) > 0:
            return Box(*numbers)
    except ValueError:
        pass
    raise UploadError(f"box: {text[:40]!r} is no box", do="give left,top,width,height in pixels")


def _parameter(control: Control) -> dict[str, Any]:
    schema = {"type": "number", "minimum": control.low, "maximum": control.high, "default": control.off}
    description = f"{control.label}: `{control.parameter}` of the degradation `{control.use}`"
    return {"name": control.name, "in": "query", "required": False, "description": description, "schema": schema}


async def _refuse(request: Request, error: Exception) -> JSONResponse:
    status = error.status if isinstance(error, UploadError) else 504 if isinstance(error, TimeLimitError) else 422
    headers = {"Retry-After": "2"} if status == 503 else None
    return JSONResponse({"error": str(error)}, status, headers)


async def _refuse_parameter(request: Request, error: Exception) -> JSONResponse:
    problems = error.errors() if isinstance(error, RequestValidationError) else ()
    texts = [f"{one['loc'][-1]}: {str(one.get('input'))[:40]!r} is wrong: {one['msg']}" for one in problems]
    return JSONResponse({"error": "\n".join(texts)}, 422)


async def _refuse_address(request: Request, error: Exception) -> JSONResponse:
    """A method or an address that does not exist."""
    assert isinstance(error, HTTPException)
    text = f"{request.method} {request.url.path}: {error.detail}\n  -> POST a file to /predict; /docs describes the API"
    return JSONResponse({"error": text}, error.status_code, error.headers)


def _guard(token: str | None) -> Callable[[Request, Callable[[Request], Awaitable[Response]]], Awaitable[Response]]:
    """Middleware that refuses strangers, and pages of other sites that make a browser call this application."""

    async def guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        host = urlsplit(f"//{request.headers.get('host', '')}")
        if token is None and host.hostname not in LOCAL:
            return JSONResponse({"error": "this page is served to its own machine only"}, 403)
        origin = request.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host.netloc:
            return JSONResponse({"error": "the request comes from a page of another site"}, 403)
        if token is not None:
            given = request.query_params.get("token", "")
            if request.url.path == "/" and _equal(given, token):  # the address that the command prints
                response: Response = RedirectResponse("/", 303)
                response.set_cookie(COOKIE, token, httponly=True, samesite="strict")
                return response
            bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
            if not any(_equal(one, token) for one in (bearer, given, request.cookies.get(COOKIE, ""))):
                return JSONResponse({"error": "a token is needed: Authorization: Bearer TOKEN"}, 401)
        response = await call_next(request)
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    return guard


def _equal(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(), token.encode())
