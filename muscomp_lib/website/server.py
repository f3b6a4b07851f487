"""What the website answers to browsers: the page, and songs as JSON and files. It decodes no sound of strangers.

A song is opened by its key, in the header `X-Song-Key` or, for links, in `?key=`: the sender's key can do everything,
the one of the share link can listen. There are no accounts and no cookies. Uploads come in pieces that go straight to
disk; one that broke off goes on where the file ends. Nothing may be cached, as songs are deleted.

    GET    /api/site                          models and limits
    POST   /api/songs                         {name, bytes, model, seconds, keep} -> {id, key, listen}
    PUT    /api/songs/<id>/sound?at=<bytes>   a piece of the file -> {next}
    GET    /api/songs/<id>                    how far it is
    GET    /api/songs/<id>/desk               what the mixer has to know
    GET    /api/songs/<id>/pieces/<number>    the mixer's audio (songs.SongFolder.write_piece)
    GET    /api/songs/<id>/files/<name>       Drums.flac, notes.mid, score.musicxml, all.zip, mix.flac?settings=<JSON>
    DELETE /api/songs/<id>
"""

import base64
import hmac
import json
import logging
import os
import secrets
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import quote

import muscomp_lib
from muscomp_lib.audio.formats import SUFFIXES
from muscomp_lib.core import names
from muscomp_lib.core.errors import DiskFullError, MissingError, MusCompError, SettingError
from muscomp_lib.core.files import full_disk_reported
from muscomp_lib.core.progress import size
from muscomp_lib.core.settings import Section, check, number, optional, text, whole
from muscomp_lib.notebook import STATIC as MIXER
from muscomp_lib.separation import available, targets
from muscomp_lib.website import queue as queues
from muscomp_lib.website import songs

STATIC = Path(__file__).with_name("static")
FILES = {  # of the page: where they are, and their types
    "index.html": (STATIC, "text/html"),
    "site.css": (STATIC, "text/css"),
    "site.js": (STATIC, "text/javascript"),
    "icon.svg": (STATIC, "image/svg+xml"),
    "mixer.css": (MIXER, "text/css"),
    "mixer.js": (MIXER, "text/javascript"),
}
TYPES = {".flac": "audio/flac", ".mid": "audio/midi", ".musicxml": "application/vnd.recordare.musicxml+xml"}
MAX_JSON = 1 << 14  # bytes
MAX_PIECE = 1 << 23  # bytes of an upload in one request
MAX_TITLE = 120  # characters
REFUSED = 2  # exit status of mix.py after wrong settings
MIX_SECONDS = 300  # until one is given up
MIX_WAIT = 30.0  # seconds until a mix that waits for others is refused
BLOCK = 1 << 18  # bytes
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
STATUS = {queues.FullError: 429, DiskFullError: 507, MissingError: 404, SettingError: 400}

log = logging.getLogger(__name__)


class BusyError(MusCompError):
    """Too many ask for the same at once."""


class Request(Section):
    """What a browser sends to enter a song."""

    name: text("the name of a file")
    bytes: whole(1)
    model: optional(text(), "the first one") = None
    seconds: optional(number(1, 36000), "the whole song") = None
    keep: optional(list[str], "every instrument") = None


class Api:
    """The answers.

    Parameters
    ----------
    settings : settings.Settings
    queue : queue.Queue
    songs : songs.Songs
    root : core.root.Root
        With the operator's own models.
    """

    def __init__(self, settings, queue, songs, root):
        self._settings, self._queue, self._songs = settings, queue, songs
        self.models = offered(settings.models, root)
        self._uploading, self._mixing = set(), threading.Semaphore(1)

    def routes(self):
        """Starlette's routes."""
        from starlette.routing import Route

        song = "/api/songs/{id}"
        return [
            Route("/", self.page),
            Route("/static/{name}", self.page),
            Route("/api/site", self.site),
            Route("/api/songs", self.add, methods=["POST"]),
            Route(f"{song}/sound", self.upload, methods=["PUT"]),
            Route(song, self.state),
            Route(song, self.delete, methods=["DELETE"]),
            Route(f"{song}/desk", self.desk),
            Route(f"{song}/pieces/{{number:int}}", self.piece),
            Route(f"{song}/files/{{name}}", self.file),
        ]

    # ---- the page ----

    def page(self, request):
        """A file of the page."""
        from starlette.responses import FileResponse

        name = request.path_params.get("name", "index.html")
        if name not in FILES:
            raise MissingError("There is no such page.")
        folder, kind = FILES[name]
        return FileResponse(folder / name, media_type=kind, headers={"Cache-Control": "no-cache"})

    def site(self, request):
        """Models, limits and how much there is to do."""
        limits, counts = self._settings, self._queue.counts()
        return _json(
            {
                "models": [{"name": m.name, "label": label, "instruments": m.instruments} for label, m in self.models],
                "suffixes": SUFFIXES,
                "megabytes": limits.max_megabytes,
                "minutes": limits.max_minutes,
                "each": limits.max_each,
                "hours": limits.keep_hours,
                "waiting": sum(counts.get(state, 0) for state in (queues.WAITING, queues.RUNNING)),
            }
        )

    # ---- a song arrives ----

    async def add(self, request):
        """Enter a song."""
        from starlette.concurrency import run_in_threadpool

        given = _parsed(await _body(request, MAX_JSON))
        return await run_in_threadpool(self._add, given, request.client.host if request.client else "")

    def _add(self, given, sender):
        given = check(Request, given, "The request: ")
        title, suffix = _title(given.name)
        limit = self._settings.max_megabytes * 1_000_000
        if given.bytes > limit:
            raise SettingError(
                f"The file has {size(given.bytes)}, and {size(limit)} are the most. Send it as FLAC or MP3."
            )
        if shutil.disk_usage(self._songs.place).free < given.bytes + self._settings.keep_free_gb * 1e9:
            raise DiskFullError("The disk of this server is full. Try again later, when older songs are deleted.")
        options = {"model": self._model(given.model).name, "seconds": given.seconds, "keep": self._keep(given)}
        limits = self._settings.max_waiting, self._settings.max_each
        id_, key, listen = self._queue.add(sender, title, suffix, given.bytes, options, *limits)
        log.info("%.6s: %s", id_, size(given.bytes))
        return _json({"id": id_, "key": key, "listen": listen}, 201)

    def _model(self, name):
        known = {model.name: model for _, model in self.models}
        if name is not None and name not in known:
            raise SettingError(f"There is no model {name!r} here. Choose one of {', '.join(known)}.")
        return known[name] if name else next(iter(known.values()))

    def _keep(self, given):
        """The instruments to keep, as the model spells them; None for all."""
        if not given.keep:
            return None
        known = self._model(given.model).instruments
        return [target.name for target in targets.plan(known, [name for name in given.keep if name in known])]

    async def upload(self, request):
        """Take a piece of the file."""
        from starlette.concurrency import run_in_threadpool

        entry = await run_in_threadpool(self._opened, request, True)
        place = self._songs.of(entry)
        if entry.state != queues.UPLOADING:
            return _json({"next": entry.bytes})
        if entry.id in self._uploading:
            return _json({"next": _n_bytes(place.upload)}, 409)
        self._uploading.add(entry.id)
        try:
            reply = await _take_piece(request, place.upload, entry.bytes)
        finally:
            self._uploading.discard(entry.id)
        await run_in_threadpool(self._queue.touch, entry.id)
        if _n_bytes(place.upload) == entry.bytes:
            await run_in_threadpool(self._queue.enqueue, entry.id)
        return reply

    # ---- a song is asked for ----

    def state(self, request):
        """How far a song is, and what there is of it."""
        entry = self._opened(request)
        place = self._songs.of(entry)
        known = {name: getattr(entry, name) for name in ("id", "title", "state", "stage", "note", "bytes", "options")}
        known |= {"progress": round(entry.share, 3), "owner": self._owns(request, entry), "facts": entry.facts}
        known |= {"deleted": entry.created + 3600 * self._settings.keep_hours, "files": {}}
        if entry.state == queues.UPLOADING:
            known["received"] = _n_bytes(place.upload)
        if entry.state in (queues.WAITING, queues.RUNNING):
            known |= self._outlook(entry)
        if entry.state in (queues.RUNNING, queues.DONE):
            known["files"] = {name: file.stat().st_size for name, file in place.downloads().items()}
        return _json(known)

    def _outlook(self, entry):
        """How many songs are ahead, and about how many seconds are left."""
        mean = self._queue.mean_seconds()
        if entry.state == queues.WAITING:
            ahead = self._queue.ahead(entry)
            return {"ahead": ahead, "left": mean * (1 + ahead / self._settings.n_workers)}
        passed = time.time() - entry.started
        left = passed * (1 - entry.share) / entry.share if entry.share > 0.1 else mean - passed
        return {"ahead": 0, "left": max(1.0, left)}

    def desk(self, request):
        """What the mixer has to know."""
        return self._sent(self._songs.of(self._opened(request)).desk, "application/json")

    def piece(self, request):
        """A piece of the mixer's audio."""
        place = self._songs.of(self._opened(request))
        return self._sent(place.piece(request.path_params["number"]), "application/octet-stream")

    def file(self, request):
        """A file to take away."""
        from starlette.responses import StreamingResponse

        entry, name = self._opened(request, to_own=True), request.path_params["name"]
        place = self._songs.of(entry)
        downloads = place.downloads()
        if name == songs.MIX:
            return self._mix(request, entry, place)
        if name == songs.ZIP and downloads:
            blocks = filter(None, place.zipped(names.as_folder(entry.title)))
            return StreamingResponse(blocks, media_type="application/zip", headers=_attached(f"{entry.title}.zip"))
        if name not in downloads:
            raise MissingError("There is no such file. It may not be ready yet.")
        return self._sent(downloads[name], TYPES[downloads[name].suffix], _attached(_download_name(entry, name)))

    def _mix(self, request, entry, place):
        """The mix, from a file that nobody else can open and that is gone once it is closed."""
        from starlette.responses import StreamingResponse

        settings = _mix_settings(request.query_params.get("settings", "{}"))
        path = place.path / f"{secrets.token_hex(8)}.flac"
        if not self._mixing.acquire(timeout=MIX_WAIT):
            raise BusyError("Others are waiting for their mixes. Try again in a minute.")
        try:
            _run_mix(place.stems, path, settings)
            file = path.open("rb")
            n_bytes = path.stat().st_size
        finally:
            self._mixing.release()
            path.unlink(missing_ok=True)
        headers = _attached(f"{entry.title} - mix.flac") | {"Content-Length": str(n_bytes)}
        return StreamingResponse(_blocks(file), media_type=TYPES[".flac"], headers=headers)

    def delete(self, request):
        """Delete a song and all its files, now."""
        entry = self._opened(request, to_own=True)
        self.forget(entry.id)
        log.info("%.6s: deleted", entry.id)
        return _json({})

    def forget(self, id_):
        """Delete a song that is in the queue."""
        entry = self._queue.get(id_)
        self._queue.delete(id_)
        if entry:
            self._songs.of(entry).remove()

    # ---- who may ----

    def _opened(self, request, to_own=False):
        """The song of a request, if its key opens it. A wrong key and a song that is deleted look the same."""
        entry = self._queue.get(request.path_params["id"])
        if entry is None or not (self._owns(request, entry) or (not to_own and _fits(request, entry.listen))):
            raise MissingError("There is no such song: it was deleted, or the link is not complete.")
        return entry

    def _owns(self, request, entry):
        return _fits(request, entry.key)

    def _sent(self, path, kind, headers=None):
        from starlette.responses import FileResponse

        if not path.is_file():
            raise MissingError("This is not ready yet.")
        return FileResponse(path, media_type=kind, headers={"Cache-Control": "no-store", **(headers or {})})


def offered(chosen, root):
    """The models of a site: [(label, available.Model)].

    Parameters
    ----------
    chosen : str or None
        Names, separated by commas; None: all.
    root : core.root.Root
    """
    found = {model.name: (label, model) for label, model in available.labelled(root)}
    if chosen is None:
        return list(found.values())
    wanted = [name.strip() for name in chosen.split(",") if name.strip()]
    if unknown := [name for name in wanted if name not in found]:
        raise SettingError(f"--models: there is no {unknown[0]!r}. There is {', '.join(found)}.")
    return [found[name] for name in wanted]


def app(api, settings, lifespan=None):
    """The website as an ASGI application.

    Parameters
    ----------
    api : Api
    settings : settings.Settings
    lifespan : callable, optional
        As Starlette's.
    """
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    handlers = {HTTPException: _http_error, MusCompError: _known_error, sqlite3.OperationalError: _queue_error}
    handlers[Exception] = _unknown_error
    guards = [
        Middleware(Headers, password=settings.secret),
        Middleware(TrustedHostMiddleware, allowed_hosts=settings.trusted_hosts, www_redirect=False),
    ]
    return Starlette(routes=api.routes(), middleware=guards, exception_handlers=handlers, lifespan=lifespan)


class Headers:
    """Gives each answer the headers that protect it, and asks for the password, if there is one."""

    def __init__(self, app, password):
        self._app, self._password = app, password

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
            answer = _json({"error": "The password is wrong."}, 401, {"WWW-Authenticate": 'Basic realm="Mus-Comp"'})
            return await answer(scope, receive, send_with_headers)
        return await self._app(scope, receive, send_with_headers)


# ---- errors ----


def _http_error(_, error):
    return _json({"error": str(error.detail)}, error.status_code, error.headers)


def _known_error(_, error):
    status = next((status for kind, status in STATUS.items() if isinstance(error, kind)), 503)
    return _json({"error": str(error)}, status)


def _queue_error(_, error):
    log.error("The queue cannot be used: %s", error)
    return _json({"error": "The server cannot take notes now. Its disk may be full. Try again later."}, 507)


def _unknown_error(_, error):
    reference = secrets.token_hex(4)
    log.error("Error %s: %s", reference, type(error).__name__)
    return _json({"error": f"Something went wrong here. The operator finds it in the log as {reference}."}, 500)


# ---- parts of requests and answers ----


def _json(content, status=200, headers=None):
    from starlette.responses import JSONResponse

    return JSONResponse(content, status, headers)


async def _body(request, most):
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


def _parsed(body):
    """JSON as a dict."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise SettingError("The request is not a JSON object.")
    return found


def _mix_settings(given):
    """How a mixer is set: {stem: {gain, pan, mute, solo}}; its notes are no part of a mix."""
    if len(given) > MAX_JSON:
        raise SettingError("The settings are too long.")
    settings = _parsed(given)
    if not all(isinstance(values, dict) for values in settings.values()):
        raise SettingError("The settings of a stem are not a JSON object.")
    kept = ("gain", "pan", "mute", "solo")
    return {name: {key: values[key] for key in kept if key in values} for name, values in settings.items()}


async def _take_piece(request, path, n_bytes):
    """Append a piece to an upload that is to have so many bytes in all; where the next begins, as an answer."""
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect

    at = request.query_params.get("at", "")
    there = _n_bytes(path)
    if not at.isdecimal() or int(at) != there:
        return _json({"next": there}, 409)
    most = min(there + MAX_PIECE, n_bytes)
    path.parent.mkdir(parents=True, exist_ok=True)
    with full_disk_reported("the song"), path.open("ab") as file:
        try:
            async for chunk in request.stream():
                there += len(chunk)
                if there > most:
                    raise HTTPException(413, "That is more than was announced.")
                file.write(chunk)  # to the system's cache: quicker than to hand it to a thread
        except ClientDisconnect:
            pass  # what has arrived is kept
    return _json({"next": there})


def _run_mix(folder, path, settings):
    """Write a mix in a process of its own."""
    if not folder.is_dir():
        raise MissingError("This song is not separated yet.")
    command = [sys.executable, "-m", "muscomp_lib.website.mix", folder, path, json.dumps(settings)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=MIX_SECONDS, check=False)
    if done.returncode == REFUSED:
        raise SettingError(done.stderr.strip())
    done.check_returncode()


def environment():
    """The environment of processes that run this library, wherever it lies."""
    paths = [str(Path(muscomp_lib.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _title(name):
    """A song's title and the suffix of its file, of a file name as a browser gives it."""
    base = name.replace("\\", "/").rpartition("/")[2]
    stem, dot, suffix = base.rpartition(".")
    suffix = f"{dot}{suffix}".lower()
    if not stem.strip() or suffix not in SUFFIXES:
        raise SettingError(f"This is not the name of a song. It must end in one of {', '.join(SUFFIXES)}.")
    title = "".join(" " if names.is_control(sign) or sign in names.FORBIDDEN else sign for sign in stem)
    return " ".join(title.split())[:MAX_TITLE].strip(". ") or "song", suffix


def _n_bytes(path):
    return path.stat().st_size if path.is_file() else 0


def _fits(request, digest):
    """Whether the key of a request is the one with this checksum."""
    key = request.headers.get("x-song-key") or request.query_params.get("key", "")
    return hmac.compare_digest(queues.digest(key), digest)


def _knows(scope, password):
    """Whether a request has the password, as browsers send it (RFC 7617)."""
    given = dict(scope["headers"]).get(b"authorization", b"")
    try:
        found = base64.b64decode(given.removeprefix(b"Basic "), validate=True).partition(b":")[2]
    except ValueError:
        return False
    return hmac.compare_digest(found, password.encode())


def _download_name(entry, name):
    path = Path(name)
    return f"{entry.title}{path.suffix}" if name in (songs.MIDI, songs.SCORE) else f"{entry.title} - {name}"


def _attached(name):
    """The header that lets a browser store an answer under a name (RFC 6266)."""
    return {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}"}


def _blocks(file):
    with file:
        while block := file.read(BLOCK):
            yield block
