"""TensorFlow's checkpoint format, read without TensorFlow: seconds of import for a table and raw numbers.

A save is two files. `<name>.index` is a sorted table (LevelDB's format: blocks of entries, each of which shares the
beginning of its key with the one before; the last 48 bytes tell where the block is that lists the blocks). Its keys are
variable names, its values protocol buffers with type, shape, file, first byte, size and checksum. `<name>.data-*` are
the bytes themselves. Both are described in TensorFlow's `tensor_bundle.proto` and `table_format.txt`.
"""

import struct
from pathlib import Path
from typing import NamedTuple

import google_crc32c
import numpy as np

MAGIC = 0xDB4775248B80FB57  # the last 8 bytes of a table
FOOTER, TRAILER = 48, 5  # bytes: at a table's end; after each block, its compression and its checksum
DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8", 19: "<f2"}  # by TensorFlow's number
MASK = 0xA282EAD8  # added to stored checksums
BITS = 32


class Entry(NamedTuple):
    """One variable: its type, shape, and where its bytes are."""

    dtype: str
    shape: tuple
    shard: int
    begin: int
    size: int
    checksum: int


class TensorBundle:
    """A save.

    Parameters
    ----------
    path : Path
        Without suffix.

    Attributes
    ----------
    shapes : dict of str to tuple of int
        By variable.

    Raises
    ------
    ValueError, OSError
        It cannot be read: damaged, cut short, or with types or features that no Spleeter model has.
    """

    def __init__(self, path):
        self._path = path
        try:
            found = dict(_table(path.with_name(f"{path.name}.index").read_bytes()))
            self._n_shards = _message(found.pop(b"")).get(1, 1)
            self._entries = {name.decode(): _entry(value) for name, value in found.items()}
        except (IndexError, KeyError, TypeError, struct.error) as error:
            raise ValueError(f"damaged: {type(error).__name__} {error}") from error
        self.shapes = {name: entry.shape for name, entry in self._entries.items()}

    def tensor(self, name):
        """The value of a variable: np.ndarray. ValueError, OSError, KeyError as for the class."""
        entry = self._entries[name]
        part = self._path.with_name(f"{self._path.name}.data-{entry.shard:05d}-of-{self._n_shards:05d}")
        with Path(part).open("rb") as file:
            file.seek(entry.begin)
            content = bytearray(file.read(entry.size))  # so that the array can be changed
        if len(content) != entry.size or _masked(google_crc32c.value(bytes(content))) != entry.checksum:
            raise ValueError(f"{name} is damaged or cut short: its checksum does not match")
        return np.frombuffer(content, entry.dtype).reshape(entry.shape)


def _table(content):
    """The (key, value) pairs of a table, bytes."""
    if len(content) < FOOTER or int.from_bytes(content[-8:], "little") != MAGIC:
        raise ValueError("not a TensorFlow checkpoint, or cut short")
    at = len(content) - FOOTER
    for _ in range(2):  # the first handle is of a block about filters, which there are none of
        begin, at = _varint(content, at)
        size, at = _varint(content, at)
    for _, handle in _block(content, begin, size):
        begin, at = _varint(handle, 0)
        yield from _block(content, begin, _varint(handle, at)[0])


def _block(content, begin, size):
    """The (key, value) pairs of a block."""
    block, trailer = content[begin : begin + size], content[begin + size : begin + size + TRAILER]
    if len(trailer) < TRAILER or _masked(google_crc32c.value(block + trailer[:1])) != _uint32(trailer[1:]):
        raise ValueError("damaged: a block's checksum does not match")
    if trailer[0]:
        raise ValueError("its table is compressed")
    end = size - 4 * (1 + _uint32(block[-4:]))  # behind the entries are the places of those with whole keys
    at, key = 0, b""
    while at < end:
        shared, at = _varint(block, at)
        n_key, at = _varint(block, at)
        n_value, at = _varint(block, at)
        key = key[:shared] + block[at : at + n_key]
        yield key, block[at + n_key : at + n_key + n_value]
        at += n_key + n_value


def _entry(content):
    """A BundleEntryProto; what is left out is zero."""
    found = _message(content)
    if 7 in found or found[1] not in DTYPES:
        raise ValueError("it holds variables of a type that no Spleeter model has")
    sizes = [_message(value).get(1, 0) for number, value in _fields(found.get(2, b"")) if number == 2]
    return Entry(DTYPES[found[1]], tuple(sizes), *(found.get(number, 0) for number in (3, 4, 5, 6)))


def _message(content):
    """The fields of a protocol buffer by number; of repeated ones the last."""
    return dict(_fields(content))


def _fields(content):
    """The (number, value) pairs of a protocol buffer: int or bytes."""
    at = 0
    while at < len(content):
        tag, at = _varint(content, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(content, at)
        elif kind == 2:
            size, at = _varint(content, at)
            value, at = content[at : at + size], at + size
        elif kind == 5:
            value, at = _uint32(content[at : at + 4]), at + 4
        else:
            raise ValueError(f"damaged: a field of kind {kind}")
        yield tag >> 3, value


def _varint(content, at):
    """A number in groups of 7 bits, the lowest first, and the place after it."""
    value = shift = 0
    while True:
        byte = content[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _uint32(content):
    return struct.unpack("<I", content)[0]


def _masked(checksum):
    """A CRC-32C as TensorFlow stores it: rotated, plus a constant."""
    return (((checksum >> 15) | (checksum << (BITS - 15))) + MASK) % (1 << BITS)
