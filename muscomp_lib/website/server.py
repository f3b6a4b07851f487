"""What the website answers to browsers: the page, and songs as JSON and files. It decodes no sound of strangers.

A song is opened by its key, in the header `X-Song-Key` or, for links, in `?key=`: the sender's key can do everything,
the one of the share link can listen. There are no accounts and no cookies. Uploads come in pieces that go straight to
disk; one that broke off goes on where the file ends. Nothing may be cached, as songs are deleted.

    GET    /api/site                          models and limits
    POST   /api/songs                         {name, bytes, model, seconds, keep} -> {id, key, listen}
    PUT    /api/songs/<id>/sound?at=<bytes>   a piece of the file -> {next}
    GET    /api/songs/<id>                    how far it is
    GET    /api/songs/<id>/desk               what the mixer needs before its audio
    GET    /api/songs/<id>/pieces/<number>    the mixer's audio (songs.SongFolder.write_piece)
    GET    /api/songs/<id>/files/<name>       Drums.flac, notes.mid, score.musicxml, all.zip, mix.flac?settings=<JSON>
    DELETE /api/songs/<id>
"""

import json
import logging
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from pathlib import Path

import muscomp_lib
from muscomp_lib.audio.formats import SUFFIXES
from muscomp_lib.core import names
from muscomp_lib.core.errors import REFUSED, DiskFullError, MissingError, MusCompError, SettingError
from muscomp_lib.core.progress import size
from muscomp_lib.core.settings import Section, check, number, optional, text, whole
from muscomp_lib.notebook import STATIC as MIXER
from muscomp_lib.separation import available, targets
from muscomp_lib.website import http, songs
from muscomp_lib.website import queue as queues

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
MAX_TITLE = 120  # characters
MAX_BYTES = 10**15  # that a request may announce: more than any disk has, and still a number for the database
PIECE = re.compile("[0-9]{1,9}")
MIX_SECONDS = 300  # until one is given up
MAX_MIXES = 4  # of which one is made, and the others wait; more are refused

log = logging.getLogger(__name__)


class Request(Section):
    """What a browser sends to enter a song."""

    name: text("the name of a file")
    bytes: whole(1, MAX_BYTES)
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
        from anyio import CapacityLimiter

        self._settings, self._queue, self._songs = settings, queue, songs
        self.models = offered(settings.models, root)
        self._uploading, self._n_mixes, self._mixer = set(), 0, CapacityLimiter(1)

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
            Route(f"{song}/pieces/{{number}}", self.piece),
            Route(f"{song}/files/{songs.MIX}", self.mix),
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
        return http.as_json(
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

        given = http.parsed(await http.body(request, http.MAX_JSON))
        return await run_in_threadpool(self._add, given, request.client.host if request.client else "")

    def _add(self, given, sender):
        given = check(Request, given, "The request")
        title, suffix = _title(given.name)
        limit = self._settings.max_megabytes * 1_000_000
        if given.bytes > limit:
            raise SettingError(
                f"The file has {size(given.bytes)}, and {size(limit)} are the most. Send it as FLAC or MP3."
            )
        to_come = given.bytes + self._queue.bytes_to_come() + self._settings.keep_free_gb * 1e9
        if shutil.disk_usage(self._songs.place).free < to_come:
            raise DiskFullError("The disk of this server is full. Try again later, when older songs are deleted.")
        options = {"model": self._model(given.model).name, "seconds": given.seconds, "keep": self._keep(given)}
        id_, key, listen = self._queue.add(sender, title, suffix, given.bytes, options, *self._settings.most_songs)
        log.info("%.6s: %s", id_, size(given.bytes))
        return http.as_json({"id": id_, "key": key, "listen": listen}, 201)

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

        entry = await run_in_threadpool(self._opened, request, to_own=True)
        place = self._songs.of(entry)
        if entry.state != queues.UPLOADING:
            return http.as_json({"next": entry.bytes})
        if entry.id in self._uploading:
            return http.as_json({"next": http.size_of(place.upload)}, 409)
        self._uploading.add(entry.id)
        try:
            reply = await http.take_piece(request, place.upload, entry.bytes)
        finally:
            self._uploading.discard(entry.id)
        await run_in_threadpool(self._queue.touch, entry.id)
        if http.size_of(place.upload) == entry.bytes:
            await run_in_threadpool(self._queue.enqueue, entry.id, *self._settings.most_songs)
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
            known["received"] = http.size_of(place.upload)
        if entry.state in (queues.WAITING, queues.RUNNING):
            known |= self._outlook(entry)
        if entry.state in (queues.RUNNING, queues.DONE):
            known["files"] = {name: file.stat().st_size for name, file in place.downloads().items()}
        return http.as_json(known)

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
        """What the mixer needs before its audio."""
        return self._sent(self._songs.of(self._opened(request)).desk, "application/json")

    def piece(self, request):
        """A piece of the mixer's audio."""
        place, number = self._songs.of(self._opened(request)), request.path_params["number"]
        if not PIECE.fullmatch(number):
            raise MissingError("There is no such piece.")
        return self._sent(place.piece(int(number)), "application/octet-stream")

    def file(self, request):
        """A file to take away."""
        from starlette.responses import StreamingResponse

        entry, name = self._opened(request, to_own=True), request.path_params["name"]
        place = self._songs.of(entry)
        downloads = place.downloads()
        if name == songs.ZIP and downloads:
            asked = request.method != "HEAD"
            blocks = place.zipped(names.as_folder(entry.title)) if asked else ()
            return StreamingResponse(
                filter(None, blocks), media_type="application/zip", headers=http.attached(f"{entry.title}.zip")
            )
        if name not in downloads:
            raise MissingError("There is no such file. It may not be ready yet.")
        return self._sent(downloads[name], TYPES[downloads[name].suffix], http.attached(_download_name(entry, name)))

    async def mix(self, request):
        """The mix of the files. Those who wait for theirs take none of the threads that answer the others."""
        from anyio.to_thread import run_sync
        from starlette.concurrency import run_in_threadpool
        from starlette.responses import StreamingResponse

        entry = await run_in_threadpool(self._opened, request, to_own=True)
        settings = _mix_settings(request.query_params.get("settings", "{}"))
        headers = http.attached(f"{entry.title} - mix.flac")
        if request.method == "HEAD":  # of a download program; nothing is mixed until it is fetched
            return StreamingResponse((), media_type=TYPES[".flac"], headers=headers)
        if self._n_mixes >= MAX_MIXES:
            raise http.BusyError("Others are waiting for their mixes. Try again in a minute.")
        self._n_mixes += 1
        try:
            file, n_bytes = await run_sync(_mixed, self._songs.of(entry), settings, limiter=self._mixer)
        finally:
            self._n_mixes -= 1
        headers |= {"Content-Length": str(n_bytes)}
        return StreamingResponse(http.blocks(file), media_type=TYPES[".flac"], headers=headers)

    def delete(self, request):
        """Delete a song and all its files, now."""
        entry = self._opened(request, to_own=True)
        self.forget(entry.id)
        log.info("%.6s: deleted", entry.id)
        return http.as_json({})

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
        if entry is None or not (self._owns(request, entry) or (not to_own and http.fits(request, entry.listen))):
            raise MissingError("There is no such song: it was deleted, or the link is not complete.")
        return entry

    def _owns(self, request, entry):
        return http.fits(request, entry.key)

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
    if not wanted:
        raise SettingError(f"--models names none. There is {', '.join(found)}.")
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

    handlers = {
        HTTPException: http.http_error,
        MusCompError: http.known_error,
        queues.QueueError: http.queue_error,
        Exception: http.unknown_error,
    }
    guards = [
        Middleware(http.Headers, password=settings.secret),
        Middleware(TrustedHostMiddleware, allowed_hosts=settings.trusted_hosts, www_redirect=False),
    ]
    return Starlette(routes=api.routes(), middleware=guards, exception_handlers=handlers, lifespan=lifespan)


# ---- parts of requests ----


def _mix_settings(given):
    """How a mixer is set: {stem: {gain, pan, mute, solo}}; its notes are no part of a mix."""
    if len(given) > http.MAX_JSON:
        raise SettingError("The settings are too long.")
    settings = http.parsed(given)
    if not all(isinstance(values, dict) for values in settings.values()):
        raise SettingError("The settings of a stem are not a JSON object.")
    kept = ("gain", "pan", "mute", "solo")
    return {name: {key: values[key] for key in kept if key in values} for name, values in settings.items()}


def _mixed(place, settings):
    """A mix: a file that nobody else can open and that is gone once it is closed, and its size in bytes."""
    path = place.path / f"{secrets.token_hex(8)}.flac"
    try:
        _run_mix(place.stems, path, settings)
        return path.open("rb"), path.stat().st_size
    finally:
        path.unlink(missing_ok=True)


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
        raise SettingError(
            "This is not the name of a song. Send sound or films, such as MP3, WAV, FLAC or m4a, by their usual names; "
            "unpack archives."
        )
    title = "".join(" " if names.is_control(sign) or sign in names.FORBIDDEN else sign for sign in stem)
    return " ".join(title.split())[:MAX_TITLE].strip(". ") or "song", suffix


def _download_name(entry, name):
    path = Path(name)
    return f"{entry.title}{path.suffix}" if name in (songs.MIDI, songs.SCORE) else f"{entry.title} - {name}"
