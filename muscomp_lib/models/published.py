"""Spleeter's published models by name, `spleeter:4stems`: fetched at their first use, then kept. Used by 04 and 05.

They were trained on real songs, with vocals. Each is an archive of a release of github.com/deezer/spleeter; the file
`checksum.json` beside them holds their SHA-256. As in Spleeter, the environment variables GITHUB_HOST,
GITHUB_REPOSITORY and GITHUB_RELEASE name another place, except where GitHub itself sets the second. A download that
breaks off is resumed. The repository's licence, MIT, is that of the code; it says nothing about the models apart.
"""

import json
import logging
import os
import shutil
import tarfile
from pathlib import Path

from muscomp_lib.core import provenance
from muscomp_lib.core.errors import MissingError, SettingError
from muscomp_lib.core.files import cache_folder, full_disk_reported, locked, make_folder, write_text, written_whole
from muscomp_lib.core.progress import bar
from muscomp_lib.core.settings import suggestion

PREFIX = "spleeter:"
WIDE = "-16kHz"  # the same weights, up to a higher frequency
BINS, WIDE_BINS = 1024, 1536  # to 11 and 16 kHz
ELU = {"conv_activation": "ELU", "deconv_activation": "ELU"}
NETWORKS = {
    "2stems": (["vocals", "accompaniment"], {"type": "unet.unet", "params": {}}),
    "4stems": (["vocals", "drums", "bass", "other"], {"type": "unet.unet", "params": ELU}),
    "5stems": (["vocals", "piano", "drums", "bass", "other"], {"type": "unet.softmax_unet", "params": ELU}),
}
FOLDERS = tuple(f"{name}{wide}" for name in NETWORKS for wide in ("", WIDE))  # that Spleeter unpacks them to
NAMES = tuple(f"{PREFIX}{name}" for name in FOLDERS)
UNUSED = {  # what a configuration has for training, and a trained model does without
    "train_csv": "train.csv",
    "validation_csv": "validation.csv",
    "mix_name": "mix",
    "learning_rate": 1e-4,
    "batch_size": 4,
    "training_cache": "training_cache",
    "validation_cache": "validation_cache",
    "train_max_steps": 1_000_000,
    "throttle_secs": 300,
    "random_seed": 0,
    "save_checkpoints_steps": 150,
    "save_summary_steps": 5,
}
LICENCE = "MIT for Spleeter's code, none named for the model"
NETWORK_BYTES = 4 * 9_830_000  # of one instrument's network: its weights, of 32 bits
HOST = {"GITHUB_HOST": "https://github.com", "GITHUB_REPOSITORY": "deezer/spleeter", "GITHUB_RELEASE": "v1.4.0"}
ON_GITHUB = ("GITHUB_ACTIONS", "CODESPACES")  # set on its machines, where GITHUB_REPOSITORY is the user's own
CHECKSUMS = "checksum.json"
MARK = "published.json"  # in a model's folder: which archive it was unpacked from
PARTS = ("checkpoint", "model")  # how the names of a checkpoint's files begin
MAX_BYTES = 4 << 30  # of an unpacked model; that of five instruments has 0.2 GB
TIMEOUT = (10, 60)  # seconds, to connect and between two blocks
BLOCK = 1 << 14  # bytes: what is lost of a download that breaks off

log = logging.getLogger(__name__)


def is_name(model):
    """Whether a model is given by such a name."""
    return str(model).startswith(PREFIX)


def is_here(model):
    """Whether a published model, one of NAMES, has been fetched."""
    return (_weights(model) / MARK).is_file()


def n_bytes(model):
    """About how large a published model, one of NAMES, is on disk; its archive is a little smaller."""
    return NETWORK_BYTES * len(instruments(model))


def instruments(model):
    """What a published model, one of NAMES, separates: list of str."""
    return NETWORKS[_bare(model)][0]


def _bare(model):
    return model.removeprefix(PREFIX).removesuffix(WIDE)


def _weights(model):
    return _cache() / _bare(model)


def find(model, progress=bar):
    """The configuration of a published model, whose checkpoint is fetched first where it is not here.

    Parameters
    ----------
    model : str
        One of NAMES.
    progress : callable
        Called like tqdm for a bar. Whatever its `update` raises stops the download; what has arrived is kept.

    Returns
    -------
    Path
        A `.json` in Spleeter's form; the folder with the checkpoint lies beside it.

    Raises
    ------
    SettingError
        There is no such model, or the archive is not the one that was published.
    MissingError
        It is not here, and cannot be fetched; says how to put it there by hand.
    DiskFullError
    """
    if model not in NAMES:
        raise SettingError(f"There is no model {model!r}. {suggestion(model, NAMES)}")
    name = model.removeprefix(PREFIX)
    weights = _weights(model)
    if not (weights / MARK).is_file():
        make_folder(weights.parent)
        with locked(weights.with_name(f"{weights.name}.lock")):
            if not (weights / MARK).is_file():  # or another process has fetched it while this one waited
                _fetch(model, weights, progress)
    path = _cache() / f"{name}.json"
    write_text(path, json.dumps(configuration(name), indent=4) + "\n")
    return path


def _cache():
    return cache_folder() / "spleeter" / _setting("GITHUB_RELEASE")


def _url(file):
    host, repository, release = map(_setting, HOST)
    return f"{host}/{repository}/releases/download/{release}/{file}"


def _setting(name):
    """The value of a variable of HOST, or its default."""
    is_githubs = name == "GITHUB_REPOSITORY" and any(map(os.environ.get, ON_GITHUB))
    return HOST[name] if is_githubs else os.environ.get(name) or HOST[name]


def configuration(name):
    """Spleeter's configuration of a model, one of FOLDERS: the signal path is the same for all of them."""
    names, network = NETWORKS[name.removesuffix(WIDE)]
    signal = {"sample_rate": 44100, "frame_length": 4096, "frame_step": 1024, "T": 512, "n_channels": 2}
    masks = {"F": WIDE_BINS if name.endswith(WIDE) else BINS, "separation_exponent": 2, "mask_extension": "zeros"}
    own = {"model_dir": name.removesuffix(WIDE), "instrument_list": names, **signal, **masks, "model": network}
    return UNUSED | own


# ---- fetching: `requests` takes long to import, and is needed once ----


def _fetch(model, folder, progress):
    """Unpack the archive of a model into `folder`; download it first, unless it was put beside it by hand."""
    import requests

    archive = folder.with_name(f"{folder.name}.tar.gz")
    try:
        if not archive.is_file():
            _download(_url(archive.name), archive, model, progress)
        _check(archive)
        _unpack(archive, folder)
    except requests.RequestException as error:
        raise MissingError(
            f"{model} is not here and cannot be fetched ({_reason(error)}). Run this again where there is a network "
            f"(proxies are taken from HTTPS_PROXY); what has arrived is kept. Or download {_url(archive.name)} with a "
            f"browser, and put it at {archive}."
        ) from error
    archive.unlink()


def _download(url, path, name, progress):
    """Download a file, from where the last attempt broke off."""
    import requests

    partial = path.with_name(f"{path.name}.partial")
    done = partial.stat().st_size if partial.exists() else 0
    headers = {"Range": f"bytes={done}-", "Accept-Encoding": "identity"} if done else {"Accept-Encoding": "identity"}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:  # all of it has arrived
            partial.replace(path)
            return
        response.raise_for_status()
        if response.status_code != requests.codes.partial_content:
            done = 0
        total = done + int(response.headers.get("Content-Length", 0))
        shown = {"total": total or None, "initial": done, "unit": "B", "unit_scale": True, "desc": name}
        with full_disk_reported(path), partial.open("ab" if done else "wb") as file, progress(**shown) as counted:
            for block in response.iter_content(BLOCK):
                file.write(block)
                counted.update(len(block))
    if total and partial.stat().st_size < total:
        raise requests.ConnectionError(f"{url} broke off after {partial.stat().st_size} of {total} bytes")
    partial.replace(path)


def _check(archive):
    """Compare an archive with its published checksum; where that cannot be fetched, it is used as it is."""
    import requests

    try:
        response = requests.get(_url(CHECKSUMS), timeout=TIMEOUT)
        response.raise_for_status()
        published = response.json()[archive.name.removesuffix(".tar.gz")]
    except (requests.RequestException, ValueError, KeyError, TypeError) as error:
        log.warning("%s is not compared with its checksum, which cannot be fetched (%s).", archive, _reason(error))
        return
    if (found := provenance.sha256(archive)) != published:
        archive.unlink()
        raise SettingError(
            f"{archive.name} is damaged or not the one that was published (SHA-256 {found}, not {published}), and was "
            "removed. Run this again to fetch it once more."
        )


def _unpack(archive, folder):
    """Copy a checkpoint's files out of an archive; whatever else is in it stays there."""
    with written_whole(folder, mark=MARK) as part:
        part.mkdir()
        try:
            _extract(archive, part)
        except (tarfile.TarError, EOFError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            archive.unlink(missing_ok=True)
            raise SettingError(f"{archive.name} is damaged ({error}), and was removed. Run this again.") from error
        provenance.write(part / MARK, json.dumps({"from": _url(archive.name), "sha256": provenance.sha256(archive)}))


def _extract(archive, folder):
    with tarfile.open(archive) as packed:
        for entry in packed:
            name = Path(entry.name).name
            if entry.isreg() and name.startswith(PARTS) and entry.size <= MAX_BYTES:
                with packed.extractfile(entry) as source, (folder / name).open("wb") as file:
                    shutil.copyfileobj(source, file)


def _reason(error):
    return " ".join(str(error).split()) or type(error).__name__
