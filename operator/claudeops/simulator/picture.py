"""Images as the API counts them: dimensions from the file's header, and the tokens that they become."""

from __future__ import annotations

import base64
import binascii
import math
import re
import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import msgspec

from claudeops.catalogue import Model, load_catalogue
from claudeops.simulator.message import Block, CountRequest


class Size(msgspec.Struct, frozen=True):
    """Pixels."""

    width: int
    height: int


PATCH_PX = 28
"""One token is a square of this many pixels."""
UNKNOWN_TOKENS = 1296
"""What an image counts whose dimensions cannot be read: that of 1000 x 1000 pixels."""
PAGE_TEXT_TOKENS = 2000
"""Of one page of a PDF; the documentation says 1,500 to 3,000."""
PAGE_SIZE = Size(1275, 1650)
STORED = "_stored"
"""The member of a block's source that holds the beginning of an uploaded file, in base64, once the file was found."""
_PAGE = re.compile(rb"/Type\s*/Page\b")
_HEAD_CHARACTERS = 8 * 1024
_WHOLE_CHARACTERS = 2 * 1024 * 1024
_JPEG_FRAMES = frozenset((*range(0xC0, 0xD0),)) - {0xC4, 0xC8, 0xCC}


def image_tokens(size: Size | None, model: Model) -> int:
    """Tokens of an image after the API has shrunk it to the model's tier; of an unknown size, ``UNKNOWN_TOKENS``."""
    return UNKNOWN_TOKENS if size is None else _patches(shrunk(size, model))


def shrunk(size: Size, model: Model) -> Size:
    """The largest size of the same shape whose edges (rounded up to whole patches) and tokens are within the model's tier.

    Found by bisection over the long edge, the short one rounded: the documented procedure.
    """
    tier = load_catalogue().image_tier(model.image_tier)
    return _shrunk(size, tier.max_edge_px, tier.max_tokens)


@lru_cache(maxsize=512)
def _shrunk(size: Size, max_edge_px: int, max_tokens: int) -> Size:
    if _fits(size, max_edge_px, max_tokens):
        return size
    low, high = 1, max(size.width, size.height)
    while high - low > 1:
        middle = (low + high) // 2
        if _fits(_scaled(size, middle), max_edge_px, max_tokens):
            low = middle
        else:
            high = middle
    return _scaled(size, low)


def _scaled(size: Size, long_px: int) -> Size:
    if size.width >= size.height:
        return Size(long_px, max(1, round(size.height * long_px / size.width)))
    return Size(max(1, round(size.width * long_px / size.height)), long_px)


def _fits(size: Size, max_edge_px: int, max_tokens: int) -> bool:
    padded = max(math.ceil(size.width / PATCH_PX), math.ceil(size.height / PATCH_PX)) * PATCH_PX
    return padded <= max_edge_px and _patches(size) <= max_tokens


def _patches(size: Size) -> int:
    return math.ceil(size.width / PATCH_PX) * math.ceil(size.height / PATCH_PX)


def images(request: CountRequest) -> Iterator[tuple[str, Block]]:
    """Every image block with its path, those inside tool results included."""
    for number, turn in enumerate(request.messages):
        if isinstance(turn.content, list):
            yield from _images_in(turn.content, f"messages.{number}.content")


def _images_in(blocks: list[Block], path: str) -> Iterator[tuple[str, Block]]:
    for place, block in enumerate(blocks):
        if block.get("type") == "image":
            yield f"{path}.{place}", block
        elif block.get("type") == "tool_result" and isinstance(block.get("content"), list):
            inner = [found for found in block["content"] if isinstance(found, dict)]
            yield from _images_in(inner, f"{path}.{place}.content")


def image_size(source: Any) -> Size | None:
    """The dimensions of an image block's source; None for what is not base64 or cannot be read, and for what is fetched by URL."""
    if not isinstance(source, dict):
        return None
    data = source.get("data") if source.get("type") == "base64" else source.get(STORED)
    return _size_of(data) if isinstance(data, str) else None


def page_count(source: Block) -> int:
    """Pages of a PDF in base64, at least 1; of anything else 1."""
    data = source.get("data") if source.get("type") == "base64" else source.get(STORED)
    if not isinstance(data, str):
        return 1
    try:
        return max(1, len(_PAGE.findall(base64.b64decode(data))))
    except (ValueError, binascii.Error):
        return 1


def page_tokens(model: Model) -> int:
    """What a page of a PDF counts: its text, and its picture at 150 dots an inch."""
    return PAGE_TEXT_TOKENS + image_tokens(PAGE_SIZE, model)


def _size_of(data: str) -> Size | None:
    """The dimensions that a base64 image says of itself: PNG, JPEG, GIF or WebP; None when its header cannot be read."""
    for characters in (_HEAD_CHARACTERS, _WHOLE_CHARACTERS):
        try:
            head = base64.b64decode(data[:characters])
        except (ValueError, binascii.Error):
            return None
        found = size_in(head)
        if found is not None or len(data) <= characters:
            return found
    return None


def size_in(head: bytes) -> Size | None:
    """The same from the beginning of the file."""
    if head.startswith(b"\x89PNG\r\n\x1a\n") and len(head) >= 24:
        return Size(*struct.unpack(">II", head[16:24]))
    if head[:6] in (b"GIF87a", b"GIF89a") and len(head) >= 10:
        return Size(*struct.unpack("<HH", head[6:10]))
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP" and len(head) >= 30:
        return _webp(head)
    return _jpeg(head) if head.startswith(b"\xff\xd8") else None


def _webp(head: bytes) -> Size | None:
    kind = head[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", head[26:30])
        return Size(width & 0x3FFF, height & 0x3FFF)
    if kind == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return Size((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8X":
        return Size(int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1)
    return None


def _jpeg(head: bytes) -> Size | None:
    at = 2
    while at + 9 <= len(head) and head[at] == 0xFF:
        marker = head[at + 1]
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack(">HH", head[at + 5 : at + 9])
            return Size(width, height)
        at += 2 + int.from_bytes(head[at + 2 : at + 4], "big")
    return None
