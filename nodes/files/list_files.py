from pathlib import Path
from typing import Any

from rayflow_dagster import RayflowNode


class ListFilesNode(RayflowNode):
    """The files of a folder that match PATTERN, in alphabetical order."""

    icon = "fa-folder-open"
    category = "files"
    inputs = {"folder": str}
    outputs = {"paths": list[str]}

    PATTERN = "*.txt"

    def process(self, folder: str) -> dict[str, Any]:
        if not Path(folder).is_dir():
            raise NotADirectoryError(f"there is no folder {folder!r} in {Path.cwd()}")
        return {"paths": sorted(str(path) for path in Path(folder).glob(self.PATTERN))}
