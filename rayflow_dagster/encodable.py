"""Any text in, a text out that can be written and does no more than be read.

Names of files that are no UTF-8 have half characters (lone surrogates), as ``os.listdir`` gives
them. Terminals, files and answers over HTTP refuse those, so every text of a node passes here on
its way out. What a terminal shows passes ``plain``: other characters steer it.
"""

import re

# Escape sequences, and marks that have what follows shown from right to left; newline and tab may.
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def encodable(text: str, encoding: str | None = "utf-8") -> str:
    """``text`` as ``encoding`` can write it; what it cannot say is escaped."""
    if text.isascii():
        return text
    encoding = encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def plain(text: str) -> str:
    """``text`` with what steers a terminal, and half characters, made visible."""
    return _STEERING.sub(_escape, encodable(text.replace("\r\n", "\n")))


def plain_json(text: str) -> str:
    """The same of a JSON document, which says what it said."""
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", encodable(text))


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
