"""What the API refuses of images: media type, size in bytes and pixels, and how many of them."""

from __future__ import annotations

from claudeops.catalogue import Model, load_catalogue
from claudeops.simulator.message import Block, CountRequest
from claudeops.simulator.picture import image_size, images, page_count
from claudeops.simulator.reply import Problem, invalid

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
    return next((message for path, block in found if (message := _wrong(path, block)) is not None), None)


def oversized_problem(request: CountRequest, model: Model) -> Problem | None:
    """The 400 for images with a side that is too long: the limit and the places are in its details.

    An image whose header cannot be read is taken as it is. With ``transformations.oversized_image: error`` an image that would be
    shrunk is refused too.
    """
    found = list(images(request))
    longest_px = MAX_SIDE_OF_MANY_PX if len(found) > MANY_IMAGES else MAX_SIDE_PX
    paths = [path for path, block in found if _longest_side(block) > longest_px]
    if not paths:
        longest_px = load_catalogue().image_tier(model.image_tier).max_edge_px
        paths = [path for path, block in found if _must_not_shrink(block) and _longest_side(block) > longest_px]
    if not paths:
        return None
    message = f"{paths[0]}.image: At least one of the image dimensions exceed max allowed size: {longest_px} pixels"
    return invalid(message, error_code="image_dimensions_too_large", max_side_length_pixels=longest_px, paths=paths)


def _longest_side(block: Block) -> int:
    """In pixels; 0 when it cannot be read."""
    size = image_size(block.get("source"))
    return 0 if size is None else max(size.width, size.height)


def _must_not_shrink(block: Block) -> bool:
    transformations = block.get("transformations")
    return isinstance(transformations, dict) and transformations.get("oversized_image") == "error"


def _page_violation(request: CountRequest, model: Model) -> str | None:
    """The pages of all PDFs of the request together."""
    sources = [block.get("source") for turn in request.messages if isinstance(turn.content, list) for block in turn.content]
    papers = [source for source in sources if isinstance(source, dict) and source.get("media_type") == "application/pdf"]
    if not papers:
        return None
    most = MAX_PAGES if model.context_tokens >= LARGE_CONTEXT_TOKENS else MAX_PAGES_SMALL_CONTEXT
    found = sum(page_count(source) for source in papers)
    return None if found <= most else f"A maximum of {most} PDF pages may be provided. Found {found}."


def _wrong(path: str, block: Block) -> str | None:
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
    return None
