"""Where the sound of a file ends by its header, in bytes, and whether the file goes that far. Used by `reader`.

A header is a promise. A decoder takes what is there of half a file for the whole, and drops what follows where a header
says less than there is. So a file that breaks off is refused here, before it is decoded, and what a decoder would leave
unread is logged. Layouts: RIFF and AIFF (EA IFF 85), W64, CAF, AU, MP4 (ISO 14496-12), EBML (RFC 8794), ASF, Ogg (RFC
3533), and MP3's "Xing" frame.
"""

import functools
import logging
import re
import struct

from muscomp_lib.core.errors import AudioError

SLACK = 4096  # bytes that may be left over, or be missing where they are few of all: padding, tags
SHARE = 0.01  # of the file that may be missing
# These stand for a length that is not known yet.
UNKNOWN = {None, 0, 0xFFFFFFFF, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, (1 << 64) - 1}
MAX_CHUNKS = 10_000  # that are followed
HEAD = 1 << 16  # bytes that are searched, at a file's beginning or end
# These begin a file; no chunk inside one is called so.
FIRST = (b"RIFF", b"RIFX", b"RF64", b"BW64", b"FORM", b"caff", b"ftyp")
PRINTABLE = re.compile(rb"[ -~]{4}")
W64_SUFFIX = bytes.fromhex("f3acd3118cd100c04f8edb8a")  # of all GUIDs but the first
ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
TS_PACKET = 188  # bytes of MPEG-TS, of which each begins with "G"
OGG_LAST = 4  # flag of a page
XING = re.compile(rb"(?:Xing|Info)\0\0\0(.)(.{8})", re.DOTALL)  # flags, then numbers of frames and bytes
XING_BOTH = 3  # flags: both numbers are there

log = logging.getLogger(__name__)


def check(path, file):
    """Compare a file's size with its header.

    Parameters
    ----------
    path : Path
        For messages.
    file : RetryingFile

    Returns
    -------
    bool
        Whether the header's length can be believed; False where there is none, or more sound may follow.

    Raises
    ------
    AudioError
        The file is cut short.
    """
    head = at(file, 0, TS_PACKET + 1)
    if head.startswith(b"OggS"):
        return _check_ogg(path, file, head)
    if head[:1] == head[TS_PACKET:] == b"G" and file.size % TS_PACKET:
        log.warning("%s may be cut short: its last packet is not whole.", path)
    end, rest = _extent(file, head)
    if end is None:
        return False
    missing = end - file.size
    if missing > min(SLACK, SHARE * file.size):
        raise AudioError(f"{path} is cut short: it ends {missing} bytes before its header says. Copy it again.")
    if missing > 0:
        log.warning("%s is cut short: it ends %d bytes before its header says.", path, missing)
    log_rest(path, rest)
    return True


def log_rest(path, n_bytes):
    """Log so many bytes after the end of a file's sound, if they are more than tags."""
    if n_bytes > SLACK:
        log.warning("%s goes on for %d bytes after the end its header names. Is it too short?", path, n_bytes)


def _extent(file, head):
    """Where the sound ends, None where that is unknown, and how many bytes after it belong to nothing."""
    for pattern, extent in EXTENTS:
        if re.match(pattern, head, re.DOTALL):
            return extent(file)
    return _mp3(file)


def at(file, position, n_bytes):
    """The bytes of a file from a position on, fewer at its end."""
    file.seek(position)
    return file.read(n_bytes)


def _in_chunks(parse, first, alignment, sound, file):
    """`parse` gives a chunk's name, its header's size, and its content's, None for all that is left."""
    position, end = first, None
    for _ in range(MAX_CHUNKS):
        if position >= file.size:
            break
        name, header, size = parse(at(file, position, 24).ljust(24, b"\0"))
        if position > first and not _belongs(name):
            return end, file.size - position  # another file, or sound
        if name == sound:
            size = _long_size(file) if size in UNKNOWN else size
            end = None if size is None else position + header + size
        if size is None:
            break
        position += header + size + -size % alignment
    return end, 0


def _belongs(name):
    """Whether this can be the name of a chunk inside a file."""
    return PRINTABLE.match(name) and name[:4] not in FIRST and name[4:] in (b"", W64_SUFFIX)


def _long_size(file):
    """The size of the sound in RF64, whose own field is too short for it; None in other files."""
    return int.from_bytes(at(file, 28, 8), "little") if at(file, 0, 4) in (b"RF64", b"BW64") else None


def _iff(order, head):
    name, size = struct.unpack_from(f"{order}4sI", head)
    return name, 8, size


def _w64(head):
    name, size = struct.unpack_from("<16sQ", head)
    return name, 24, size if size in UNKNOWN else max(0, size - 24)


def _caf(head):
    name, size = struct.unpack_from(">4sQ", head)
    return name, 12, size


def _mp4(head):
    size, name, long_size = struct.unpack_from(">I4sQ", head)
    if size == 1:
        return name, 16, max(0, long_size - 16)
    return name, 8, None if size == 0 else max(0, size - 8)


def _avi(file):
    return 8 + struct.unpack("<I", at(file, 4, 4))[0], 0  # more than 1 GB is in further chunks, which are read


def _au(file):
    start, size = struct.unpack(">II", at(file, 4, 8).ljust(8, b"\0"))
    return (None, 0) if size in UNKNOWN else (start + size, file.size - start - size)


def _asf(file):
    """The size of the whole file is in its properties, 0 in a broadcast."""
    head = at(file, 0, HEAD)
    place = head.find(ASF_PROPERTIES)
    size = int.from_bytes(head[place + 40 : place + 48], "little") if place >= 0 else 0
    return (size, file.size - size) if size else (None, 0)


def _ebml(file):
    """Matroska: a header, then one segment. A size's first byte tells how many follow; all ones stand for unknown."""
    end = 0
    for _ in range(2):
        head = at(file, end + 4, 8).ljust(8, b"\0")
        length = 9 - max(1, head[0].bit_length())
        size = int.from_bytes(head[:length], "big") - (1 << 7 * length)
        if size == (1 << 7 * length) - 1 or length > 8:
            return None, 0
        end += 4 + length + size
    return end, 0


def _check_ogg(path, file, head):
    """Log a last page that is not marked as such; returns whether one stream is all, for streams can be chained."""
    tail = at(file, max(0, file.size - HEAD), HEAD)
    page = tail[max(0, tail.rfind(b"OggS")) :].ljust(27, b"\0")
    length = 27 + page[26] + sum(page[27 : 27 + page[26]])
    if not page[5] & OGG_LAST or len(page) < length:
        log.warning("%s may be cut short: its last page is not marked as the end, or not whole.", path)
    return page[14:18] == head[14:18]


def _mp3(file):
    """By the first frame, if that holds the length. Much more data than that is another song, joined to the first."""
    position = 0
    for _ in range(MAX_CHUNKS):
        head = at(file, position, 10)
        if head[:3] != b"ID3":
            break
        # A tag's size is written in groups of seven bits.
        position += 10 + sum(byte << 7 * place for place, byte in enumerate(reversed(head[6:])))
    head = at(file, position, HEAD)
    frame = re.search(rb"\xff[\xe0-\xff]", head)
    xing = frame and XING.search(head, frame.start(), frame.start() + 64)
    if not xing or xing[1][0] & XING_BOTH != XING_BOTH:
        return None, 0
    end = position + frame.start() + int.from_bytes(xing[2][4:], "big")
    return (None if file.size > end + max(SLACK, SHARE * end) else end), 0


EXTENTS = [  # by a file's first bytes
    (rb"RIFF....AVI ", _avi),
    (rb"RIFF|RF64|BW64", functools.partial(_in_chunks, functools.partial(_iff, "<"), 12, 2, b"data")),
    (rb"RIFX", functools.partial(_in_chunks, functools.partial(_iff, ">"), 12, 2, b"data")),
    (rb"FORM", functools.partial(_in_chunks, functools.partial(_iff, ">"), 12, 2, b"SSND")),
    (rb"riff", functools.partial(_in_chunks, _w64, 40, 8, b"data" + W64_SUFFIX)),
    (rb"caff", functools.partial(_in_chunks, _caf, 8, 1, b"data")),
    (rb"....ftyp", functools.partial(_in_chunks, _mp4, 0, 1, b"mdat")),
    (rb"fLaC", lambda file: (None, 0)),  # counts samples, not bytes
    (rb"\.snd", _au),
    (rb"\x30\x26\xb2\x75", _asf),
    (rb"\x1a\x45\xdf\xa3", _ebml),
]
