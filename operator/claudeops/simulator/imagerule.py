"""What the API refuses of images: media type, size in bytes and pixels, and how many of them."""

from __future__ import annotations

from collections.abc import Iterator

from claudeops.catalogue import Model
from claudeops.simulator.message import Block, CountRequest
from claudeops.simulator.picture import Size, size_of

MEDIA_TYPES = ("image/jpeg", "image/png", "image/gif", "image/webp")
MAX_BASE64_BYTES = 10 * 1024 * 1024
MAX_SIDE_PX = 8000
MANY_IMAGES = 20
"""More images than this in one request, and each may be only ``MAX_SIDE_OF_MANY_PX``."""
MAX_SIDE_OF_MANY_PX = 2000
MAX_IMAGES = 600
MAX_IMAGES_SMALL_CONTEXT = 100
SMALL_CONTEXT_TOKENS = 200_000


def image_violation(request: CountRequest, model: Model) -> str | None:
    """The message of the 400 for the images of a request. Earlier turns and tool results count too."""
    found = list(images(request))
    if not found:
        return None
    most = MAX_IMAGES_SMALL_CONTEXT if model.context_tokens <= SMALL_CONTEXT_TOKENS else MAX_IMAGES
    if len(found) > most:
        return f"messages: at most {most} images are supported in one request for this model. Found {len(found)}."
    longest = MAX_SIDE_OF_MANY_PX if len(found) > MANY_IMAGES else MAX_SIDE_PX
    return next((message for path, block in found if (message := _wrong(path, block, longest)) is not None), None)


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


def _wrong(path: str, block: Block, longest_px: int) -> str | None:
    source = block.get("source")
    if not isinstance(source, dict) or not isinstance(source.get("type"), str):
        return f"{path}.image.source: Field required"
    if source["type"] != "base64":
        return None
    if source.get("media_type") not in MEDIA_TYPES:
        return f"{path}.image.source.base64.media_type: Input should be 'image/jpeg', 'image/png', 'image/gif' or 'image/webp'"
    data = source.get("data")
    if not isinstance(data, str):
        return f"{path}.image.source.base64.data: Field required"
    if len(data) > MAX_BASE64_BYTES:
        return f"{path}.image.source.base64: image exceeds 10 MB maximum: {len(data)} bytes > {MAX_BASE64_BYTES} bytes"
    return _too_large(path, size_of(data), longest_px)


def _too_large(path: str, size: Size | None, longest_px: int) -> str | None:
    """An image whose header cannot be read is taken as it is."""
    if size is None or max(size.width, size.height) <= longest_px:
        return None
    return f"{path}.image.source.base64.data: At least one of the image dimensions exceed max allowed size: {longest_px} pixels"
