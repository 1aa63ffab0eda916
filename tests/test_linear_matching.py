"""No pattern takes long, whatever text it is matched with."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import rayflow_dagster
from rayflow_dagster.arriving_files import Pattern
from rayflow_dagster.compiler.starts.templates import fill, template_names, template_problems

LENGTH = 10_000
FUNCTIONS = {"compile", "match", "fullmatch", "search", "sub", "split", "findall", "finditer"}


def patterns() -> Iterator[str | bytes]:
    """Every regular expression that the package's source writes out: those in calls of ``re``, and
    those of pydantic's fields.
    """
    for file in Path(rayflow_dagster.__file__).parent.rglob("*.py"):
        source = file.read_text()
        if not re.search(r"\bre\.|pattern=", source):  # parsing takes long
            continue
        for call in ast.walk(ast.parse(source)):
            if isinstance(call, ast.Call):
                fields = [each.value for each in call.keywords if each.arg == "pattern"]
                for given in (*(call.args[:1] if is_re(call.func) else ()), *fields):
                    if isinstance(given, ast.Constant):
                        yield given.value


def is_re(function: ast.expr) -> bool:
    is_known = isinstance(function, ast.Attribute) and function.attr in FUNCTIONS
    return is_known and isinstance(function.value, ast.Name) and function.value.id == "re"


def adversarial(pattern: str) -> Iterator[str]:
    """Long texts of the characters that the pattern speaks of, with an end that spoils a match."""
    literal = set(re.sub(r"\\[A-Za-z]", "", pattern)) | set("a0_ ")
    for one in sorted(literal):
        yield one * LENGTH
        yield one * LENGTH + "\0"
        for other in "a {}[].-*":
            yield (one + other) * (LENGTH // 2) + "\0"
            yield one * 2 + other * LENGTH + "\0"


def test_the_patterns_are_found():
    found = set(patterns())
    assert r"[*?\[]" in found
    assert r"^\S+$" in found
    assert len(found) > 20


@pytest.mark.timeout(60)
@pytest.mark.parametrize("pattern", sorted(set(patterns()), key=repr), ids=repr)
def test_no_pattern_of_the_package_blows_up(pattern: str | bytes) -> None:
    is_text = isinstance(pattern, str)
    for text in adversarial(pattern if is_text else pattern.decode()):
        subject = text if is_text else text.encode()
        for match in (re.search, re.fullmatch):
            match(pattern, subject)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("text", ["{{" + " " * 200_000, "{{ " * 100_000, "{{ a }" * 50_000])
def test_texts_of_braces_are_read_once(text: str) -> None:
    assert list(template_names(text)) == []
    assert len(list(template_problems(text))) == 1
    assert fill(text, {}) == text


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*a" * 20 + "b", "a" * 5_000),
        ("*?a*[ab]" * 10 + "b", "a" * 5_000),
        ("**/a/" * 20 + "b", "a/" * 2_000 + "c"),
        ("**/*a*/" * 10 + "b", "aa/" * 2_000 + "c"),
        ("[" * 5_000, "a" * 5_000),
    ],
)
def test_a_file_pattern_of_many_wildcards_is_matched_at_once(pattern: str, path: str) -> None:
    assert not Pattern.of(pattern, Path("/")).matches(path)


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("*ab*ab", "abab", True),
        ("*ab*ab", "ab", False),
        ("*a?*b", "aab", True),
        ("*a*a", "a", False),
        ("a*[!b]", "aab", False),
        ("**/a/**/a/x", "a/x", False),
        ("**/a/**/a/x", "b/a/c/a/x", True),
        ("**/a/*/**/x", "a/.h/x", False),
        ("**/**/x", "x", True),
        ("a/**/b/**", "a/b/c", True),
        ("*.csv", "a.csv\n", False),
    ],
)
def test_the_first_place_of_each_piece_is_the_one_to_take(
    pattern: str, path: str, matches: bool
) -> None:
    assert bool(Pattern.of(pattern, Path("/")).matches(path)) is matches
