"""What the names in a module's source stand for: statements in, class paths and modules out."""

import ast
import builtins
from collections.abc import Iterable, Iterator, Mapping

UNKNOWN = "?"
"""Stands for what only running the code tells."""


class Names(dict[str, str]):
    """What the names of a module or class body stand for so far: class paths and modules.

    ``UNKNOWN`` is what only running the code tells. A name that is not there is a builtin.
    """

    def __init__(self, known: "Names | None" = None) -> None:
        super().__init__(known or {})
        self.guesses: dict[str, str] = dict(known.guesses) if known else {}
        """What names that are ``UNKNOWN`` most likely stand for: an ``import *`` mostly leaves them
        what they are, and in a ``try`` the first way is the one that is meant."""

    def guessed(self) -> Mapping[str, str]:
        """The names, with a guess for those that only running the code tells."""
        return {**self, **{name: self.guesses[name] for name in self._doubtful()}}

    def _doubtful(self) -> Iterator[str]:
        return (name for name, path in self.items() if path == UNKNOWN and name in self.guesses)

    def bind(self, statement: ast.stmt, module: str) -> None:
        """Note the names that a statement of the body binds."""
        match statement:
            case ast.Import(names=aliases):
                for alias in aliases:
                    name = alias.asname or alias.name.partition(".")[0]
                    self[name] = alias.name if alias.asname else name
            case ast.ImportFrom(names=[ast.alias(name="*")]):
                own = {**{name: name for name in vars(builtins)}, **self.guessed()}
                self._doubt(own, own)
            case ast.Try(body=body) | ast.TryStar(body=body):
                tried = Names(self)
                for inner in body:
                    tried.bind(inner, module)
                self._doubt(bound(statement), tried.guessed())
            case ast.ImportFrom(names=aliases):
                package = _absolute(statement, module)
                for alias in aliases:
                    self[alias.asname or alias.name] = f"{package}.{alias.name}"
            case ast.ClassDef(name=name):
                self[name] = f"{module}.{name}"
            case _:
                self._doubt(bound(statement), {})

    def _doubt(self, names: Iterable[str], guesses: Mapping[str, str]) -> None:
        """Say that only running the code tells what these names stand for, but for a guess."""
        for name in names:
            self[name] = UNKNOWN
            self.guesses[name] = guesses.get(name, UNKNOWN)


def bound(statement: ast.AST) -> Iterator[str]:
    """The names that any part of a statement binds. Those of its functions do not count, but for
    global ones.
    """
    inner = isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef)
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
        yield statement.name
    for node in ast.walk(statement):
        match node:
            case ast.Global(names=names):
                yield from names
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()) if not inner:
                yield name
            case ast.alias(name=name, asname=other) if not inner:
                yield from vars(builtins) if name == "*" else [other or name.partition(".")[0]]
            case ast.ClassDef(name=name) if not inner:
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if not inner:
                yield name
            case ast.ExceptHandler(name=str() as name) | ast.MatchAs(name=str() as name):
                yield name


def _absolute(statement: ast.ImportFrom, module: str) -> str:
    if not statement.level:
        return statement.module or ""
    base = module.split(".")[: -statement.level]
    return ".".join([*base, *([statement.module] if statement.module else [])])
