"""A backfill as the UI launches it, run by the real daemon."""

import pytest
from dagster import DagsterInstance

from e2e.example_project import results, runs_of
from e2e.webserver import REPOSITORY, Webserver

pytestmark = pytest.mark.e2e

BACKFILL = """mutation($params: LaunchBackfillParams!) { launchPartitionBackfill(
  backfillParams: $params) { __typename ... on LaunchBackfillSuccess { backfillId }
  ... on PythonError { message } } }"""
PARTITIONS = """query($repo: RepositorySelector!) { partitionSetsOrError(
  repositorySelector: $repo, pipelineName: "daily_sales") { ... on PartitionSets { results { name
  partitionStatusesOrError { ... on PartitionStatuses { results { partitionName runStatus } } }
  } } } }"""


def test_a_backfill_runs_each_of_its_days_and_the_others_stay(
    dev: Webserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    (found,) = dev.query(PARTITIONS, repo=REPOSITORY)["results"]
    selector = {"repositorySelector": REPOSITORY, "partitionSetName": found["name"]}
    days = ["2024-03-01", "2024-03-02", "2024-03-03"]
    params = {"selector": selector, "partitionNames": days}
    answer = dev.query(BACKFILL, params=params)
    assert answer["__typename"] == "LaunchBackfillSuccess", answer

    monkeypatch.setenv("DAGSTER_HOME", str(dev.home))
    with DagsterInstance.get() as instance:
        given = results(instance, "daily_sales", 3)
        tagged = {run.tags["dagster/partition"] for run in runs_of(instance, "daily_sales")}
    (found,) = dev.query(PARTITIONS, repo=REPOSITORY)["results"]

    assert sorted((each["day"], each["count"], each["revenue"]) for each in given) == [
        ("2024-03-01", 1, 7.5),
        ("2024-03-02", 2, 7.0),
        ("2024-03-03", 0, 0.0),
    ]
    assert tagged == set(days)
    states = {
        each["partitionName"]: each["runStatus"]
        for each in found["partitionStatusesOrError"]["results"]
    }
    assert {day for day, status in states.items() if status == "SUCCESS"} == set(days)
    assert states["2024-03-05"] is None
