"""The code locations of a running Dagster webserver, over its GraphQL API."""

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rayflow_dagster.defs.labels import BROKEN_TAG, FILE_METADATA, FINDINGS_METADATA

from .terminal import one_line

ANSWER_SECONDS = 300.0
"""How long an answer may take: a reload imports the author's code."""

_ERROR = "... on PythonError { message errorChain { error { message } } }"
_LOCATIONS = f"""query Locations {{ workspaceOrError {{ __typename {_ERROR}
  ... on Workspace {{ locationEntries {{ name loadStatus locationOrLoadError {{ {_ERROR}
    ... on RepositoryLocation {{ repositories {{ pipelines {{ tags {{ key }}
      metadataEntries {{ label ... on PathMetadataEntry {{ path }}
        ... on JsonMetadataEntry {{ jsonString }} }} }} }} }} }} }} }} }} }}"""
# What is asked of the location in the mutation itself is answered from before the reload.
_RELOAD = f"""mutation Reload($name: String!) {{
  reloadRepositoryLocation(repositoryLocationName: $name) {{ __typename {_ERROR}
    ... on UnauthorizedError {{ message }} ... on ReloadNotSupported {{ message }}
    ... on RepositoryLocationNotFound {{ message }} }} }}"""
_RELOADED = "WorkspaceLocationEntry"


class UnreachableError(Exception):
    """The webserver does not answer: not up yet, or on its way down."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the webserver has loaded."""

    names: tuple[str, ...] = ()
    broken: Mapping[str, list[str]] = field(default_factory=dict)
    """File of a flow that cannot run -> its findings."""
    errors: Mapping[str, str] = field(default_factory=dict)
    """Code location that could not be loaded -> why."""


class Workspace:
    """The code locations that the webserver at ``url`` serves."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/graphql"
        # This machine's own webserver is asked, whatever proxy leads to others.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def loaded(self) -> Loaded | None:
        """What is loaded; None while a location is still being loaded.

        Raises:
            UnreachableError: the webserver does not answer.
        """
        workspace = self._ask(_LOCATIONS)
        if "locationEntries" not in workspace:
            return Loaded(errors={"the workspace": _why(workspace)})
        entries = workspace["locationEntries"]
        if any(entry["loadStatus"] != "LOADED" for entry in entries):
            return None
        return _loaded(entries)

    def reload(self, names: Iterable[str]) -> dict[str, str]:
        """Do what *Reload definitions* does, in each of these locations.

        Returns:
            Location -> why it was not reloaded.

        Raises:
            UnreachableError: the webserver does not answer.
        """
        answers = {name: self._ask(_RELOAD, name=name) for name in names}
        return {
            name: _why(answer)
            for name, answer in answers.items()
            if answer.get("__typename") != _RELOADED
        }

    def _ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """The one field that ``query`` asks for."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._url, body, headers)
        try:
            with self._opener.open(request, timeout=ANSWER_SECONDS) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            return {"message": f"the webserver answers {error.code} {error.reason}"}
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise UnreachableError(str(error)) from error
        if answer.get("errors"):
            return {"message": str(answer["errors"][0]["message"])}
        (only,) = answer["data"].values()
        return dict(only)


def _loaded(entries: Sequence[Mapping[str, Any]]) -> Loaded:
    broken: dict[str, list[str]] = {}
    errors: dict[str, str] = {}
    for entry in entries:
        found = entry["locationOrLoadError"]
        if "repositories" in found:
            broken.update(_broken(found))
        else:
            errors[entry["name"]] = _why(found)
    return Loaded(tuple(entry["name"] for entry in entries), broken, errors)


def _broken(location: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    jobs = [job for repository in location["repositories"] for job in repository["pipelines"]]
    for job in jobs:
        if any(tag["key"] == BROKEN_TAG for tag in job["tags"]):
            entries = {entry["label"]: entry for entry in job["metadataEntries"]}
            findings = json.loads(entries[FINDINGS_METADATA]["jsonString"])
            yield entries[FILE_METADATA]["path"], findings


def _why(error: Mapping[str, Any]) -> str:
    """An error's own words: the first line of what caused it, without Dagster's around it."""
    chain = error.get("errorChain") or [{"error": error}]
    message = str(chain[-1]["error"].get("message", "")).strip()
    return one_line(message.partition("\n")[0]) or "the webserver does not say why"
