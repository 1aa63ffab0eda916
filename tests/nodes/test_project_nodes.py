"""The nodes of the example project, on small inputs and on its sample data."""

from pathlib import Path

import pytest

from nodes.files.check_text import CheckTextNode
from nodes.files.list_files import ListFilesNode
from nodes.files.report_checks import ReportChecksNode
from nodes.files.split_in_three import SplitInThreeNode
from nodes.orders.add_rows import AddRowsNode
from nodes.orders.count_reasons import CountReasonsNode
from nodes.orders.error_rate import ErrorRateNode
from nodes.orders.order_page import OrderPageNode
from nodes.orders.read_orders import ReadOrdersNode
from nodes.orders.total_orders import TotalOrdersNode
from nodes.orders.validate_orders import ValidateOrdersNode
from nodes.text.count_words import CountWordsNode
from nodes.text.merge_counts import MergeCountsNode
from nodes.text.rank_words import RankWordsNode
from nodes.text.write_ranking import WriteRankingNode
from rayflow_dagster.testing import run_node_locally

DATA = Path(__file__).parents[2] / "data"
GOOD_ROW = {
    "order_id": "A1",
    "date": "2024-03-01",
    "customer": "Ada Brook",
    "country": "AT",
    "product": "globe",
    "quantity": "2",
    "unit_price": "89.00",
}


@pytest.fixture(scope="module")
def rows():
    return run_node_locally(ReadOrdersNode, path=str(DATA / "orders.csv"))["rows"]


def test_the_sample_orders_have_good_and_bad_rows(rows):
    checked = run_node_locally(ValidateOrdersNode, rows=rows)
    assert (len(rows), len(checked["orders"]), len(checked["problems"])) == (61, 53, 8)
    assert len({problem["reason"] for problem in checked["problems"]}) == 6


def test_a_file_without_the_columns_of_an_order_is_refused(tmp_path):
    path = tmp_path / "orders.csv"
    path.write_text("order_id,date,customer,country,product\n")
    with pytest.raises(ValueError, match="has no column quantity, unit_price"):
        run_node_locally(ReadOrdersNode, path=str(path))


def test_a_short_row_is_read_with_empty_values(tmp_path):
    path = tmp_path / "orders.csv"
    path.write_text(",".join(GOOD_ROW) + "\nA1,2024-03-01\n")
    row = run_node_locally(ReadOrdersNode, path=str(path))["rows"][0]
    assert (row["order_id"], row["unit_price"]) == ("A1", "")


def test_a_good_row_becomes_an_order_with_numbers():
    checked = run_node_locally(ValidateOrdersNode, rows=[GOOD_ROW])
    assert checked == {"orders": [{**GOOD_ROW, "quantity": 2, "unit_price": 89.0}], "problems": []}


@pytest.mark.parametrize(
    ("column", "text", "reason"),
    [
        ("customer", "", "no customer"),
        ("date", "2024-02-30", "impossible date"),
        ("quantity", "0", "impossible quantity"),
        ("quantity", "-1", "impossible quantity"),
        ("quantity", "1001", "impossible quantity"),
        ("quantity", "a few", "impossible quantity"),
        ("unit_price", "free", "price is not a number"),
        ("unit_price", "-1.00", "price is not positive"),
        ("unit_price", "nan", "price is not positive"),
    ],
)
def test_a_bad_row_is_listed_with_its_reason(column, text, reason):
    checked = run_node_locally(ValidateOrdersNode, rows=[{**GOOD_ROW, column: text}])
    assert checked == {
        "orders": [],
        "problems": [{"row": 1, "order_id": "A1", "reason": reason}],
    }


def test_an_order_that_comes_twice_counts_once():
    checked = run_node_locally(ValidateOrdersNode, rows=[GOOD_ROW, GOOD_ROW])
    assert len(checked["orders"]) == 1
    assert checked["problems"] == [{"row": 2, "order_id": "A1", "reason": "repeated order"}]


def test_totals_are_by_country_in_alphabetical_order():
    orders = [
        {"country": country, "quantity": quantity, "unit_price": 0.1}
        for country, quantity in [("PL", 1), ("AT", 1), ("AT", 2)]
    ]
    totals = run_node_locally(TotalOrdersNode, orders=orders)
    assert totals == {"revenue": 0.4, "by_country": {"AT": 0.3, "PL": 0.1}}
    assert list(totals["by_country"]) == ["AT", "PL"]


def test_the_error_rate_of_no_rows_is_none():
    assert run_node_locally(ErrorRateNode, rows=[{}] * 4, problems=[{}]) == {"rate": 0.25}
    assert run_node_locally(ErrorRateNode, rows=[], problems=[]) == {"rate": 0.0}


def test_reasons_are_counted_most_frequent_first():
    problems = [{"reason": reason} for reason in ("a", "b", "b")]
    reasons = run_node_locally(CountReasonsNode, problems=problems)["reasons"]
    assert list(reasons.items()) == [("b", 2), ("a", 1)]


def test_the_sample_texts_are_found_in_order():
    paths = run_node_locally(ListFilesNode, folder=str(DATA / "texts"))["paths"]
    names = [Path(path).stem for path in paths]
    assert names == ["beekeeping", "lighthouse", "market", "railway"]


def test_a_missing_folder_is_refused():
    with pytest.raises(NotADirectoryError, match="no folder 'nowhere'"):
        run_node_locally(ListFilesNode, folder="nowhere")


def test_paths_are_dealt_out_to_three_groups():
    groups = run_node_locally(SplitInThreeNode, paths=["a", "b", "c", "d"])
    assert groups == {"first": ["a", "d"], "second": ["b"], "third": ["c"]}


def test_words_are_counted_over_files(tmp_path):
    (tmp_path / "a.txt").write_text("The bee, the BEE! 3 bees", encoding="utf-8")
    (tmp_path / "b.txt").write_text("Zoë sees a bee_hive", encoding="utf-8")
    paths = [str(tmp_path / "a.txt"), str(tmp_path / "b.txt")]
    counts = run_node_locally(CountWordsNode, paths=paths, minimum=3)["counts"]
    assert counts == {"the": 2, "bee": 3, "bees": 1, "zoë": 1, "sees": 1, "hive": 1}


def test_counts_are_added_up():
    merged = run_node_locally(MergeCountsNode, first={"a": 1}, second={"a": 2, "b": 1}, third={})
    assert merged == {"counts": {"a": 3, "b": 1}}


def test_ranking_orders_equal_words_by_the_alphabet():
    ranked = run_node_locally(RankWordsNode, counts={"b": 2, "c": 9, "a": 2}, top=2)
    assert ranked == {
        "ranking": [{"word": "c", "count": 9}, {"word": "a", "count": 2}],
        "top_count": 9,
    }


def test_ranking_no_words_gives_a_top_count_of_zero():
    assert run_node_locally(RankWordsNode, counts={}) == {"ranking": [], "top_count": 0}


def test_the_report_is_a_table():
    report = run_node_locally(WriteRankingNode, ranking=[{"word": "bee", "count": 3}])["report"]
    assert report.endswith("| word | count |\n| --- | ---: |\n| bee | 3 |\n")


def test_pages_of_orders_end_with_empty_ones():
    path = str(DATA / "orders.csv")
    pages = [run_node_locally(OrderPageNode, path=path, page=page) for page in (1, 3, 4)]
    assert [(len(page["rows"]), page["has_rows"]) for page in pages] == [
        (25, True), (11, True), (0, False),
    ]  # fmt: skip
    assert run_node_locally(AddRowsNode, so_far=[{"a": "1"}], rows=[{"a": "2"}]) == {
        "rows": [{"a": "1"}, {"a": "2"}]
    }


def test_a_text_with_too_few_words_fails_its_check():
    assert run_node_locally(CheckTextNode, text="a b", constants={"MIN_WORDS": 2}) == {"words": 2}
    with pytest.raises(ValueError, match="only 1 of at least 2 words"):
        run_node_locally(CheckTextNode, text="a", constants={"MIN_WORDS": 2})


def test_a_report_of_checks_names_the_files_that_failed():
    errors = [{"index": 1, "message": "too short"}]
    report = run_node_locally(ReportChecksNode, paths=["a", "b", "c"], words=[3, 4], errors=errors)
    assert report == {"failed": {"b": "too short"}, "words": 7}
