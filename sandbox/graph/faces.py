"""Generated portraits as small PNGs; the same person always has the same face."""

import colorsys
import functools
import hashlib
import struct
import zlib

SIDE = 64
_BACKGROUND, _SKIN, _HAIR, _CLOTHES = range(4)
# Ellipses in drawing order: colour, centre x and y, half width, half height.
_SHAPES = (
    (_CLOTHES, 32, 66, 26, 19),
    (_SKIN, 32, 46, 6, 6),
    (_HAIR, 32, 24, 17, 19),
    (_SKIN, 32, 29, 14, 16),
)


@functools.lru_cache(maxsize=4096)
def face(person: str) -> bytes:
    """Draw head, hair and shoulders in colours that depend on the person."""
    seed = hashlib.blake2b(person.encode(), digest_size=8).digest()
    fringe = (_HAIR, 32 + seed[4] % 13 - 6, 15, 15, 4 + seed[5] % 5)
    canvas = [bytearray(SIDE) for _ in range(SIDE)]
    for shape in (*_SHAPES, fringe):
        _paint(canvas, *shape)
    return _png(_palette(seed), b"".join(b"\0" + row for row in canvas))


def _paint(
    canvas: list[bytearray], colour: int, across: int, down: int, width: int, height: int
) -> None:
    for y, row in enumerate(canvas):
        left = 1 - ((y - down) / height) ** 2
        reach = round(width * left**0.5) if left > 0 else 0
        first, end = max(0, across - reach), min(SIDE, across + reach)
        row[first:end] = bytes([colour]) * (end - first)


def _palette(seed: bytes) -> bytes:
    hue = seed[0] / 256
    skin = _rgb(0.07, 0.35 + seed[1] / 1024, 0.45 + seed[2] / 512)
    hair = _rgb(0.06 + seed[3] / 2560, 0.6, 0.15 + seed[3] / 640)
    return _rgb(hue, 0.35, 0.85) + skin + hair + _rgb(hue + 0.4, 0.6, 0.55)


def _rgb(hue: float, saturation: float, value: float) -> bytes:
    colours = colorsys.hsv_to_rgb(hue % 1, saturation, min(1.0, value))
    return bytes(round(255 * colour) for colour in colours)


def _png(palette: bytes, pixels: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 3, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"PLTE", palette), (b"IDAT", zlib.compress(pixels, 9))]
    body = b"".join(_chunk(kind, content) for kind, content in [*chunks, (b"IEND", b"")])
    return b"\x89PNG\r\n\x1a\n" + body


def _chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)
