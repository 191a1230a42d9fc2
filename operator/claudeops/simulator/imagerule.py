"""What the API refuses of images: media type, size in bytes and pixels, and how many of them."""

from __future__ import annotations

from claudeops.catalogue import Model
from claudeops.simulator.message import Block, CountRequest
from claudeops.simulator.picture import Size, image_size, images, page_count

MEDIA_TYPES = ("image/jpeg", "image/png", "image/gif", "image/webp")
MAX_BASE64_BYTES = 10 * 1024 * 1024
MAX_SIDE_PX = 8000
MANY_IMAGES = 20
"""More images than this in one request, and each may be only ``MAX_SIDE_OF_MANY_PX``."""
MAX_SIDE_OF_MANY_PX = 2000
MAX_IMAGES = 600
MAX_IMAGES_SMALL_CONTEXT = 100
SMALL_CONTEXT_TOKENS = 200_000
MAX_PAGES = 600
MAX_PAGES_SMALL_CONTEXT = 100
LARGE_CONTEXT_TOKENS = 1_000_000


def image_violation(request: CountRequest, model: Model) -> str | None:
    """The message of the 400 for the images of a request. Earlier turns and tool results count too."""
    pages = _page_violation(request, model)
    found = list(images(request))
    if pages is not None or not found:
        return pages
    most = MAX_IMAGES_SMALL_CONTEXT if model.context_tokens <= SMALL_CONTEXT_TOKENS else MAX_IMAGES
    if len(found) > most:
        return f"messages: at most {most} images are supported in one request for this model. Found {len(found)}."
    longest = MAX_SIDE_OF_MANY_PX if len(found) > MANY_IMAGES else MAX_SIDE_PX
    return next((message for path, block in found if (message := _wrong(path, block, longest)) is not None), None)


def _page_violation(request: CountRequest, model: Model) -> str | None:
    """The pages of all PDFs of the request together."""
    sources = [block.get("source") for turn in request.messages if isinstance(turn.content, list) for block in turn.content]
    papers = [source for source in sources if isinstance(source, dict) and source.get("media_type") == "application/pdf"]
    if not papers:
        return None
    most = MAX_PAGES if model.context_tokens >= LARGE_CONTEXT_TOKENS else MAX_PAGES_SMALL_CONTEXT
    found = sum(page_count(source) for source in papers)
    return None if found <= most else f"A maximum of {most} PDF pages may be provided. Found {found}."


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
    return _too_large(path, image_size(source), longest_px)


def _too_large(path: str, size: Size | None, longest_px: int) -> str | None:
    """An image whose header cannot be read is taken as it is."""
    if size is None or max(size.width, size.height) <= longest_px:
        return None
    return f"{path}.image.source.base64.data: At least one of the image dimensions exceed max allowed size: {longest_px} pixels"
