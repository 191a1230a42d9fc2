"""Images and pages in tokens, from the headers of real files."""

from __future__ import annotations

import base64
import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.table import every

from claudeops.catalogue import Model, load_catalogue
from claudeops.simulator.imagerule import oversized_problem
from claudeops.simulator.legality import violation
from claudeops.simulator.message import decode_message
from claudeops.simulator.picture import PATCH_PX, Size, image_tokens, page_tokens, shrunk, size_in
from claudeops.simulator.prompt import count_tokens

HIGH, STANDARD = "claude-sonnet-5-5", "claude-haiku-4-5"


def model(name: str) -> Model:
    found = load_catalogue().model(name)
    assert found is not None
    return found


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">II", width, height) + b"\x08\x02\x00\x00\x00"


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\xf7\x00\x00"


def jpeg(width: int, height: int) -> bytes:
    application = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
    table = b"\xff\xc4\x00\x05\x00\x00\x00"
    return b"\xff\xd8" + application + table + b"\xff\xc2\x00\x11\x08" + struct.pack(">HH", height, width) + b"\x03" + bytes(9)


def webp(kind: bytes, rest: bytes) -> bytes:
    return b"RIFF\x00\x00\x00\x00WEBP" + kind + b"\x00\x00\x00\x00" + rest


def lossless(width: int, height: int) -> bytes:
    return webp(b"VP8L", b"\x2f" + ((width - 1) | (height - 1) << 14).to_bytes(4, "little") + bytes(8))


def lossy(width: int, height: int) -> bytes:
    return webp(b"VP8 ", bytes(3) + b"\x9d\x01\x2a" + struct.pack("<HH", width, height))


def extended(width: int, height: int) -> bytes:
    return webp(b"VP8X", bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little"))


@every("make", [png, gif, jpeg, lossless, lossy, extended])
@every(("width", "height"), [(1000, 1000), (640, 480), (3, 7000)])
def test_every_format_says_its_size(make: Any, width: int, height: int) -> None:
    assert size_in(make(width, height)) == Size(width, height)


@pytest.mark.parametrize("data", [b"", b"hello", b"\xff\xd8", b"\xff\xd8\xff\xe0\x00", b"GIF89a", webp(b"ALPH", bytes(20)), png(1, 1)[:20]])
def test_what_is_no_image_has_no_size(data: bytes) -> None:
    assert size_in(data) is None


@pytest.mark.parametrize(
    ("size", "high", "standard"),
    [
        (Size(1000, 1000), 1296, 1296),
        (Size(1920, 1080), 2691, 1560),
        (Size(3840, 2160), 4784, 1560),
        (Size(28, 28), 1, 1),
        (Size(29, 28), 2, 2),
    ],
)
def test_documented_figures(size: Size, high: int, standard: int) -> None:
    assert (image_tokens(size, model(HIGH)), image_tokens(size, model(STANDARD))) == (high, standard)


def test_documented_sizes() -> None:
    assert shrunk(Size(3840, 2160), model(HIGH)) == Size(2576, 1449)
    assert shrunk(Size(3840, 2160), model(STANDARD)) == Size(1456, 819)


@settings(max_examples=50)
@given(width=st.integers(1, 8000), height=st.integers(1, 8000), name=st.sampled_from([HIGH, STANDARD]))
def test_a_shrunk_image_is_within_its_tier_and_keeps_its_shape(width: int, height: int, name: str) -> None:
    found, tier = shrunk(Size(width, height), model(name)), load_catalogue().image_tier(model(name).image_tier)
    assert image_tokens(Size(width, height), model(name)) <= tier.max_tokens
    assert max(found.width, found.height) <= tier.max_edge_px
    assert found.width * height == pytest.approx(found.height * width, abs=max(width, height))
    assert min(found.width, found.height) >= 1
    assert PATCH_PX == 28


def body(*blocks: dict[str, Any], name: str = HIGH) -> Any:
    document = {"model": name, "max_tokens": 10, "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}, *blocks]}]}
    return decode_message(msgspec.json.encode(document))


def image(data: bytes = b"", kind: str = "image/png") -> dict[str, Any]:
    return {"type": "image", "source": {"type": "base64", "media_type": kind, "data": base64.b64encode(data).decode()}}


def paper(pages: int) -> dict[str, Any]:
    data = b"%PDF-1.7\n" + b"<< /Type /Page /Parent 1 0 R >>\n" * pages + b"<< /Type /Pages /Count 9 >>"
    return {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": base64.b64encode(data).decode()}}


def test_images_and_pages_count_in_the_prompt() -> None:
    known = model(HIGH)
    plain = count_tokens(body(), known)
    assert count_tokens(body(image(png(1920, 1080))), known) == plain + 2691
    assert count_tokens(body(image(b"?")), known) == plain + 1296
    result = {"type": "tool_result", "tool_use_id": "t", "content": [image(png(28, 28))]}
    assert count_tokens(body(result), known) == plain + 1
    assert count_tokens(body(paper(3)), known) == plain + 3 * page_tokens(known)
    assert page_tokens(known) == 2000 + 2714
    text = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x" * 400}}
    parts = {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "x" * 400}]}}
    assert count_tokens(body(text), known) == count_tokens(body(parts), known) == plain + 130
    assert count_tokens(body({"type": "document", "source": {"type": "url", "url": "u"}}), known) == plain + page_tokens(known)


@every(
    ("blocks", "name", "message"),
    [
        ([image(b"x", "image/bmp")], HIGH, "messages.0.content.1.image.source.base64.media_type: Input should be"),
        ([image(bytes(8 * 1024 * 1024))], HIGH, "messages.0.content.1.image.source.base64: image exceeds 10 MB maximum"),
        ([{"type": "image"}], HIGH, "messages.0.content.1.image.source: Field required"),
        (
            [{"type": "image", "source": {"type": "base64", "media_type": "image/png"}}],
            HIGH,
            "messages.0.content.1.image.source.base64.data",
        ),
        ([image(png(1, 1))] * 600, HIGH, None),
        ([image(png(1, 1))] * 601, HIGH, "messages: at most 600 images"),
        ([image(png(1, 1))] * 101, STANDARD, "messages: at most 100 images"),
        ([paper(600)], HIGH, None),
        ([paper(601)], HIGH, "A maximum of 600 PDF pages may be provided. Found 601."),
        ([paper(60), paper(41)], STANDARD, "A maximum of 100 PDF pages may be provided. Found 101."),
    ],
)
def test_limits_of_images_and_pages(blocks: list[dict[str, Any]], name: str, message: str | None) -> None:
    found = violation(body(*blocks, name=name), model(name), "2026-10-21")
    assert found is None if message is None else found is not None and found.startswith(message), found


@pytest.mark.parametrize(
    ("blocks", "longest_px", "places"),
    [
        ([image(png(8000, 8000))], None, []),
        ([image(png(8001, 10))], 8000, [1]),
        ([image(png(2001, 10)), *[image(png(1, 1))] * 19], None, []),
        ([image(png(1, 1)), image(png(10, 2001)), *[image(png(1, 1))] * 18, image(png(2001, 1))], 2000, [2, 21]),
        ([image(png(3000, 10))], None, []),
        ([image(png(3000, 10)) | {"transformations": {"oversized_image": "error"}}], 2576, [1]),
        ([image(b"?")], None, []),
    ],
)
def test_too_long_a_side_is_named_by_its_place(blocks: list[dict[str, Any]], longest_px: int | None, places: list[int]) -> None:
    found = oversized_problem(body(*blocks), model(HIGH))
    if longest_px is None:
        assert found is None
        return
    assert found is not None
    assert found.details == {
        "error_code": "image_dimensions_too_large",
        "max_side_length_pixels": longest_px,
        "paths": [f"messages.0.content.{place}" for place in places],
    }
