"""Any text in, a text out that can be written: half characters (lone surrogates) as escapes.

Names of files that are no UTF-8 have such, as ``os.listdir`` gives them. Terminals, files and
answers over HTTP refuse them, so every text of a node passes here on its way out.
"""


def encodable(text: str, encoding: str | None = "utf-8") -> str:
    """``text`` as ``encoding`` can write it; what it cannot say is escaped."""
    if text.isascii():
        return text
    encoding = encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
