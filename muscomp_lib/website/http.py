"""Requests and answers of the website: their headers, bodies, keys and errors. Used by `server.py`."""

import asyncio
import base64
import hmac
import json
import logging
import secrets
from urllib.parse import quote

from muscomp_lib.core.errors import DiskFullError, MissingError, MusCompError, SettingError
from muscomp_lib.core.files import full_disk_reported
from muscomp_lib.core.progress import size
from muscomp_lib.website import queue as queues

MAX_JSON = 1 << 14  # bytes
MAX_PIECE = 1 << 23  # bytes of an upload in one request
BLOCK = 1 << 18  # bytes
SILENCE = 30.0  # seconds without a byte until a connection counts as dead, and its upload may go on in another
MAX_DIGITS = 18  # of a position in a file
WRONG_PAUSE = 1.0  # seconds until a wrong password is answered
CHALLENGE = 'Basic realm="Mus-Comp", charset="UTF-8"'  # else some browsers send a password in Latin-1
MOST_WRONG = 10  # wrong passwords that may wait for that: so many guesses a second
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "style-src-attr 'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",  # a link may hold a key
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}

STATUS = {queues.FullError: 429, DiskFullError: 507, MissingError: 404, SettingError: 400}  # else 503

log = logging.getLogger(__name__)


class BusyError(MusCompError):
    """Too many ask for the same at once."""


class Headers:
    """Gives each answer the headers that protect it, and asks for the password, if there is one."""

    def __init__(self, app, password):
        self._app, self._password = app, password
        self._wrong = 0  # wrong passwords that wait for their answer

    async def __call__(self, scope, receive, send):
        """Answer, or pass the request on."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)

        async def send_with_headers(message):
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                added = [
                    (k.lower().encode(), v.encode()) for k, v in HEADERS.items() if k.lower().encode() not in given
                ]
                message = message | {"headers": [*message["headers"], *added]}
            await send(message)

        if self._password and not _knows(scope, self._password):
            answer = await self._refusal(scope)
            return await answer(scope, receive, send_with_headers)
        return await self._app(scope, receive, send_with_headers)

    async def _refusal(self, scope):
        """The answer to a request without the password: after a pause if it was a guess, so that guessing takes years.

        Whoever has the password is never kept waiting, though others guess from behind the same address.
        """
        if b"authorization" in dict(scope["headers"]):
            if self._wrong >= MOST_WRONG:
                return as_json({"error": "Too many wrong passwords. Try again in a second."}, 429, {"Retry-After": "1"})
            self._wrong += 1
            try:
                await asyncio.sleep(WRONG_PAUSE)
            finally:
                self._wrong -= 1
        return as_json({"error": "The password is wrong."}, 401, {"WWW-Authenticate": CHALLENGE})


def _knows(scope, password):
    """Whether a request has the password, as browsers send it (RFC 7617)."""
    given = dict(scope["headers"]).get(b"authorization", b"")
    try:
        found = base64.b64decode(given.removeprefix(b"Basic "), validate=True).partition(b":")[2]
    except ValueError:
        return False
    return hmac.compare_digest(found, password.encode())


# ---- requests ----


def fits(request, digest):
    """Whether the key of a request is the one with this checksum."""
    key = request.headers.get("x-song-key") or request.query_params.get("key", "")
    return hmac.compare_digest(queues.digest(key), digest)


async def body(request, most):
    """The body of a request, if it is JSON by its type, which other sites' pages cannot send."""
    from starlette.exceptions import HTTPException

    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise HTTPException(415, "Send JSON.")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise HTTPException(413, "The request is too long.")
    return body


def parsed(body):
    """JSON as a dict."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise SettingError("The request is not a JSON object.")
    return found


async def take_piece(request, path, n_bytes):
    """Append a piece to an upload that is to have `n_bytes` in all; where the next begins, as an answer."""
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect

    at = request.query_params.get("at", "")
    there = size_of(path)
    if not at.isdecimal() or len(at) > MAX_DIGITS or int(at) != there:
        return as_json({"next": there}, 409)
    most = min(there + MAX_PIECE, n_bytes)
    path.parent.mkdir(parents=True, exist_ok=True)
    with full_disk_reported("the song"), path.open("ab") as file:
        chunks = request.stream()
        try:
            while chunk := await asyncio.wait_for(_next(chunks), SILENCE):
                there += len(chunk)
                if there > n_bytes:
                    raise HTTPException(413, "The file is larger than was announced. Send it again.")
                if there > most:
                    raise HTTPException(413, f"A piece has at most {size(MAX_PIECE)}.")
                file.write(chunk)  # to the system's cache: quicker than to hand it to a thread
        except (ClientDisconnect, asyncio.TimeoutError):
            pass  # what has arrived is kept
    return as_json({"next": there})


async def _next(chunks):
    """The next bytes of a request, empty at its end."""
    async for chunk in chunks:
        if chunk:
            return chunk
    return b""


def size_of(path):
    """The size of a file in bytes, 0 where there is none."""
    return path.stat().st_size if path.is_file() else 0


# ---- answers ----


def as_json(content, status=200, headers=None):
    """An answer in JSON."""
    from starlette.responses import JSONResponse

    return JSONResponse(content, status, headers)


def attached(name):
    """The header that lets a browser store an answer under a name (RFC 6266)."""
    return {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}"}


def blocks(file):
    """The bytes of an open file, which is closed behind them."""
    with file:
        while block := file.read(BLOCK):
            yield block


def http_error(_, error):
    """The answer to what Starlette refuses."""
    return as_json({"error": str(error.detail)}, error.status_code, error.headers)


def known_error(_, error):
    """The answer to what this library refuses, with the reason."""
    status = next((status for kind, status in STATUS.items() if isinstance(error, kind)), 503)
    return as_json({"error": str(error)}, status)


def queue_error(_, error):
    """The answer where the queue cannot be read or written, without what the database says."""
    log.error("%s", error)
    return as_json({"error": "The server cannot take notes now. Try again later."}, 503)


def unknown_error(_, error):
    """The answer to a defect: a number, and nothing about it."""
    reference = secrets.token_hex(4)
    log.error("Error %s: %s", reference, type(error).__name__)
    return as_json({"error": f"Something went wrong here. The operator finds it in the log as {reference}."}, 500)
