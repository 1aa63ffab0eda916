from typing import Any

from rayflow_dagster import RayflowNode


class ReportChecksNode(RayflowNode):
    """Why which of the checked files failed, by path, and the words of the others together."""

    icon = "fa-clipboard-list"
    category = "files"
    inputs = {
        "paths": list[str],
        "words": list[int],
        "errors": list[dict[str, Any]],
    }
    outputs = {"failed": dict[str, str], "words": int}

    def process(
        self, paths: list[str], words: list[int], errors: list[dict[str, Any]]
    ) -> dict[str, Any]:
        failed = {paths[error["index"]]: error["message"] for error in errors}
        return {"failed": failed, "words": sum(words)}
