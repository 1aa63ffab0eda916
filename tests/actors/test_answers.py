"""What is said of a process that died."""

import pytest

from rayflow_dagster.actors.answers import MAX_DEATH, how_it_died

SENTENCE = "Worker exit detail: it was killed by 1 signal, which nobody sent."


@pytest.mark.parametrize(("count", "kept"), [(1, 1), (9, 9), (50, 9)])
def test_how_a_process_died_ends_with_a_whole_sentence(count: int, kept: int) -> None:
    told = how_it_died(RuntimeError("of ids and namespaces\n" + " ".join([SENTENCE] * count)))
    assert told.endswith(f" native code): {' '.join([SENTENCE] * kept).removesuffix('.')}")


def test_one_endless_sentence_is_cut() -> None:
    told = how_it_died(RuntimeError("exit " + "x" * MAX_DEATH))
    assert told.endswith("xxx...")
