"""Requests that two readers may frame in two ways, and nonsense: none may reach the API, nor anything behind it."""

from __future__ import annotations

SMUGGLED = b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n"
POST = b"POST /v1/messages HTTP/1.1\r\nhost: x\r\nanthropic-version: 2023-06-01\r\n"
CHUNKED = POST + b"transfer-encoding: chunked\r\n\r\n"
_CL_TE = b"content-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
_TE_CL = b"transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n25\r\n"

HOSTILE: dict[str, tuple[bytes, int]] = {
    # framing by two lines
    "CL.TE": (POST + _CL_TE + SMUGGLED, 400),
    "TE.CL": (POST + _TE_CL + SMUGGLED + b"\r\n0\r\n\r\n", 400),
    "TE.TE, the second unknown": (CHUNKED[:-2] + b"transfer-encoding: cow\r\n\r\n0\r\n\r\n" + SMUGGLED, 400),
    "TE.TE, the first unknown": (POST + b"transfer-encoding: cow\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED, 400),
    "TE twice": (CHUNKED[:-2] + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED, 400),
    "two lengths that differ": (POST + b"content-length: 0\r\ncontent-length: 37\r\n\r\n" + SMUGGLED, 400),
    "two lengths that agree": (POST + b"content-length: 2\r\nContent-Length: 2\r\n\r\n{}" + SMUGGLED, 400),
    "a list of lengths": (POST + b"content-length: 2, 2\r\n\r\n{}" + SMUGGLED, 400),
    # transfer-encoding spelled so that one reader misses it
    "TE with a prefix": (POST + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n" + SMUGGLED, 400),
    "TE in quotes": (POST + b'transfer-encoding: "chunked"\r\n\r\n0\r\n\r\n' + SMUGGLED, 400),
    "TE behind a vertical tab": (POST + b"transfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + SMUGGLED, 400),
    "TE before the colon": (POST + b"transfer-encoding : chunked\r\n\r\n0\r\n\r\n" + SMUGGLED, 400),
    "TE behind a space": (POST + b" transfer-encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED, 400),
    "TE in a folded line": (POST + b"x-a: b\r\n\ttransfer-encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED, 400),
    "TE folded": (POST + b"transfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + SMUGGLED, 400),
    "TE behind a bare line feed": (POST + b"x-a: b\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED, 400),
    "TE behind a bare carriage return": (POST + b"x-a: b\rtransfer-encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED, 400),
    "TE identity": (POST + b"transfer-encoding: identity\r\n\r\n" + SMUGGLED, 400),
    "chunked is not the last": (POST + b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n" + SMUGGLED, 400),
    "compressed in transfer": (POST + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + SMUGGLED, 501),
    "chunked twice": (POST + b"transfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n" + SMUGGLED, 400),
    "TE in HTTP/1.0": (CHUNKED.replace(b"/1.1", b"/1.0") + b"0\r\n\r\n" + SMUGGLED, 400),
    # lengths that are no plain number
    **{
        f"the length {value!r}": (POST + b"content-length: " + value + b"\r\n\r\n{}" + SMUGGLED, 400)
        for value in (b"+2", b"-2", b"0x2", b"2 2", b"2e0", b"2.0", b"\xb2", b"2\x00", b"", b"1" + b"0" * 5000)
    },
    "a length too large": (POST + b"content-length: 99999999999\r\n\r\n", 413),
    # lines
    "only bare line feeds": ((POST + b"content-length: 2\r\n\r\n{}").replace(b"\r\n", b"\n"), 400),
    "a bare line feed at the end": (POST + b"content-length: 2\r\n\n{}", 400),
    "a bare carriage return in the request line": (b"GET /v1/models HTTP/1.1\rhost: x\r\n\r\n", 400),
    "NUL in a value": (POST + b"x-a: b\x00c\r\ncontent-length: 2\r\n\r\n{}", 400),
    "NUL in a name": (POST + b"x-\x00a: b\r\ncontent-length: 2\r\n\r\n{}", 400),
    "a space before the colon": (POST + b"content-length : 2\r\n\r\n{}", 400),
    "no colon": (POST + b"content-length\r\n\r\n{}", 400),
    "no name": (POST + b": 2\r\n\r\n{}", 400),
    "a name that is no token": (POST + b"x{a}: b\r\ncontent-length: 2\r\n\r\n{}", 400),
    "a name beyond ASCII": (POST + b"x\xe9: b\r\ncontent-length: 2\r\n\r\n{}", 400),
    "a huge head": (POST + b"x-a: " + b"a" * 70_000 + b"\r\n\r\n", 431),
    "many lines": (POST + b"x-a: b\r\n" * 9_000 + b"\r\n", 431),
    "a head without end": (POST + b"x-a: " + b"a" * 70_000, 431),
    # request lines
    "nonsense": (b"NONSENSE\r\n\r\n", 400),
    "the head of a TLS connection": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "no version": (b"GET /v1/models\r\nhost: x\r\n\r\n", 400),
    "HTTP/2 with prior knowledge": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "another version": (b"GET /v1/models HTTP/1.2\r\nhost: x\r\n\r\n", 400),
    "two spaces": (b"GET  /v1/models HTTP/1.1\r\nhost: x\r\n\r\n", 400),
    "a space at the end": (b"GET /v1/models HTTP/1.1 \r\nhost: x\r\n\r\n", 400),
    "another host in the target": (b"GET http://evil/v1/models HTTP/1.1\r\nhost: x\r\n\r\n", 400),
    "a tunnel": (b"CONNECT x:443 HTTP/1.1\r\nhost: x\r\n\r\n" + SMUGGLED, 400),
    "no host": (b"GET /v1/models HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET /v1/models HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n", 400),
    # chunks
    **{
        f"the chunk size {line[:20]!r}": (CHUNKED + line + b"\r\n{}\r\n0\r\n\r\n" + SMUGGLED, 400)
        for line in (
            b"+2",
            b"-2",
            b"0x2",
            b" 2",
            b"2 ",
            b"",
            b"z",
            b";a=b",
            b"2 ;a",
            b"2;a\x00",
            b"2;a\nb",
            b"2;" + b"a" * 2_000,
            b"f" * 17,
        )
    },
    "a chunk longer than it says": (CHUNKED + b"2\r\n{}}\r\n0\r\n\r\n" + SMUGGLED, 400),
    "a chunk behind a bare line feed": (CHUNKED + b"2\n{}\r\n0\r\n\r\n" + SMUGGLED, 400),
    "a chunk before a bare line feed": (CHUNKED + b"2\r\n{}\n0\r\n\r\n" + SMUGGLED, 400),
    "a trailer without a colon": (CHUNKED + b"2\r\n{}\r\n0\r\nnonsense\r\n\r\n" + SMUGGLED, 400),
    "a folded trailer": (CHUNKED + b"2\r\n{}\r\n0\r\nx-a: b\r\n c\r\n\r\n" + SMUGGLED, 400),
    "endless trailers": (CHUNKED + b"2\r\n{}\r\n0\r\n" + b"x-a: b\r\n" * 10_000, 400),
    "endless extensions": (CHUNKED + b"1;" + b"a" * 1_000 + b"\r\n{\r\n" + (b"1;" + b"a" * 1_000 + b"\r\n \r\n") * 70, 400),
}
"""What is sent → the status it is answered with. The connection is closed then."""
