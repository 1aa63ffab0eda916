from pathlib import Path
from typing import Any

from rayflow_dagster.node import RayflowNode


class ReadFileNode(RayflowNode):
    """Read a text file. ENCODING says how it was written."""

    icon = "fa-file-lines"
    category = "io"
    inputs = {"path": str}
    outputs = {"content": str}

    ENCODING = "utf-8"

    def process(self, path: str) -> dict[str, Any]:
        try:
            return {"content": Path(path).read_text(encoding=self.ENCODING)}
        except FileNotFoundError:
            # The bare error does not say what a relative path was relative to.
            raise FileNotFoundError(f"there is no file {path!r} in {Path.cwd()}") from None
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path!r} is not text in {self.ENCODING} ({error}); set the constant ENCODING"
            ) from error
