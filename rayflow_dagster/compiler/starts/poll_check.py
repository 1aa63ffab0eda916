"""Whether the class that a ``poll`` sensor names can be asked, found by reading its source."""

import ast
from collections.abc import Iterable
from pathlib import Path

from rayflow_dagster.suggest import did_you_mean

Function = ast.FunctionDef | ast.AsyncFunctionDef


def poll_problem(root: Path, path: str) -> str | None:
    """Why ``path``, a class below the project's folder ``root``, cannot be a check; None if it
    can, or if its source does not tell: the class is imported or inherits.
    """
    module, _, name = path.rpartition(".")
    file = _source_of(root, module)
    if file is None:
        where = module.replace(".", "/")
        return f"there is no module {module} in the project's folder ({where}.py)"
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError) as error:
        line = f" line {error.lineno}" if isinstance(error, SyntaxError) else ""
        return f"{file.relative_to(root)}{line} is not Python: {getattr(error, 'msg', error)}"
    return _source_problem(tree, module, name)


def _source_of(root: Path, module: str) -> Path | None:
    base = root.joinpath(*module.split("."))
    choices = (base.with_suffix(".py"), base / "__init__.py")
    return next((file for file in choices if file.is_file()), None)


def _source_problem(tree: ast.Module, module: str, name: str) -> str | None:
    classes = {each.name: each for each in tree.body if isinstance(each, ast.ClassDef)}
    if name in classes:
        return _class_problem(classes[name])
    if any(isinstance(each, Function) and each.name == name for each in tree.body):
        return f"{name} is a function; a check is a class with a method check(cursor)"
    if _may_define(tree.body, name):
        return None
    return f"{module} has no class {name}{did_you_mean(name, classes)}"


def _may_define(body: Iterable[ast.stmt], name: str) -> bool:
    """Whether the name may come from elsewhere: an import, an assignment, a block."""
    for each in body:
        match each:
            case ast.Import(names) | ast.ImportFrom(names=names):
                if any((alias.asname or alias.name) in (name, "*") for alias in names):
                    return True
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.Expr():
                continue
            case _:
                if any(isinstance(part, ast.Name) and part.id == name for part in ast.walk(each)):
                    return True
                if isinstance(each, ast.If | ast.Try | ast.With):
                    return True
    return False


def _class_problem(found: ast.ClassDef) -> str | None:
    if found.bases or found.keywords or found.decorator_list:
        return None
    methods = {each.name: each for each in found.body if isinstance(each, Function)}
    check = methods.get("check")
    if check is None:
        return f"class {found.name} has no method check(cursor)"
    if not check.decorator_list and not _takes(check, 2):
        return f"{found.name}.check must take the cursor: def check(self, cursor)"
    make = methods.get("__init__")
    if make is not None and not _takes(make, 1):
        return f"{found.name}() is made without arguments; give those of __init__ defaults"
    return None


def _takes(function: Function, count: int) -> bool:
    """Whether it can be called with so many positional arguments and nothing else."""
    arguments = function.args
    most = len(arguments.posonlyargs) + len(arguments.args)
    least = most - len(arguments.defaults)
    fits = least <= count and (count <= most or arguments.vararg is not None)
    return fits and None not in arguments.kw_defaults
