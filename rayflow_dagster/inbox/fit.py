"""From the text of an error to one that is fit for callers: without our paths and tracebacks."""

import re

HIDDEN = "<path>"
_TRACEBACK = re.compile(
    r"""(?:Exception\ Group\ )?Traceback\ \(most\ recent\ call\ last\):
        (?:\n(?=[\s|+])[^\n]*|\n(?=\n|$))*\n?""",
    re.VERBOSE,
)
_END = r"""[^\s'",;:()\[\]{}<>]"""
_PATH = re.compile(
    rf"""
      (?<=')/[^'\n]+(?=')                # in quotes, where it may have spaces
    | (?<=")/[^"\n]+(?=")
    | \b[a-z][a-z0-9+.-]{{0,30}}:/{{3,}}[^\s'"]*  # the URL of a file
    | (?<=:)/(?!/){_END}+                # behind a colon, but for that of https://
    | (?<![\w./~<:])/+{_END}+
    """,
    re.VERBOSE | re.IGNORECASE,
)


def for_callers(text: str) -> str:
    """``text`` with ``<path>`` for each absolute path, and of a traceback only what it ends with.

    Relative paths and URLs of other machines stay.
    """
    return _PATH.sub(HIDDEN, _TRACEBACK.sub("", text)).strip()
