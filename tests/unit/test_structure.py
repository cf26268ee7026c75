"""The shape of the package: imports point downwards and in no circle, and nothing grows past a screen or two."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

import stomplistener

MOST_CLASS_LINES = 450
MOST_METHODS = 40
MORE_METHODS = {
    # What stomp.py's classes have, by its names.
    "compat.stomp.adapter.ws.WSStompConnection": 43,
    "compat.stomp.adapter.ws.WSTransport": 55,
    "compat.stomp.connect.StompConnection11": 42,
    "compat.stomp.connect.StompConnection12": 43,
    "compat.stomp.transport.Transport": 52,
    # One method for each thing that a broker can be told to do.
    "testing.broker.Broker": 44,
}
"""Classes that have more all the same: no further ones, and none of these grows."""
MOST_FUNCTION_LINES = 60

_PACKAGE = Path(stomplistener.__file__).parent

_ABOVE_ENGINE = ("connection", "subscription", "transaction", "cli", "worker", "contrib", "compat", "testing")
_APPLICATION = (*_ABOVE_ENGINE, "message", "listener", "options", "browse")

FORBIDDEN: dict[str, tuple[str, ...]] = {
    "protocol": (*_APPLICATION, "_engine", "brokers", "failover", "transport"),
    "transport": (*_APPLICATION, "_engine", "brokers", "protocol"),
    "failover": (*_APPLICATION, "_engine", "brokers", "protocol", "transport"),
    "brokers": (*_ABOVE_ENGINE, "_engine", "failover", "transport"),
    "_engine": _ABOVE_ENGINE,
    "_util": (*_APPLICATION, "_engine", "brokers", "protocol", "failover", "transport"),
    "errors": (*_APPLICATION, "_engine", "brokers", "failover", "transport"),
    "states": (*_APPLICATION, "_engine", "brokers", "protocol", "failover", "transport"),
}
"""What each layer must not import, by the first name below the package."""


def _module_name(path: Path) -> str:
    parts = path.relative_to(_PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


TREES = {
    _module_name(path): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(_PACKAGE.rglob("*.py"))
    if "migrations" not in path.parts
}
_IS_PACKAGE = {_module_name(path.parent / "__init__.py") for path in _PACKAGE.rglob("__init__.py")}


def _imports(module: str, *, lazy: bool) -> Iterator[str]:
    """The modules of the package that a module imports: those of ``TYPE_CHECKING`` too, those in functions if asked."""
    pending: list[ast.AST] = [TREES[module]]
    while pending:
        node = pending.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) and not lazy:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in TREES)
        elif isinstance(node, ast.ImportFrom):
            yield from _imported_from(module, node)
        pending.extend(ast.iter_child_nodes(node))


def _imported_from(module: str, node: ast.ImportFrom) -> Iterator[str]:
    base = node.module or ""
    if node.level:
        parts = module.split(".")
        parts = parts[: len(parts) - node.level + (module in _IS_PACKAGE)]
        base = ".".join(filter(None, (*parts, base)))
    for alias in node.names:
        inner = f"{base}.{alias.name}"
        # A module of a package, or a name that is made in the package's own file.
        if inner in TREES:
            yield inner
        elif base in TREES:
            yield base


def _circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """The strongly connected components of more than one module, by Tarjan's algorithm."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in edges[name]:
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            component = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(component) > 1:
                found.append(sorted(component))

    for name in edges:
        if name not in index:
            visit(name)
    return found


def test_no_import_circle() -> None:
    edges = {module: set(_imports(module, lazy=False)) - {module} for module in TREES}
    assert _circles(edges) == []


@pytest.mark.parametrize("layer", FORBIDDEN)
def test_imports_point_downwards(layer: str) -> None:
    wrong = [
        f"{module} imports {imported}"
        for module in TREES
        if module.split(".")[1:2] == [layer]
        for imported in _imports(module, lazy=True)
        if imported.split(".")[1:2] and imported.split(".")[1] in FORBIDDEN[layer]
    ]
    assert wrong == []


def _code_lines(node: ast.AST) -> set[int]:
    """The lines on which code stands: no docstrings, comments or blank lines."""
    texts = {
        id(child)
        for each in ast.walk(node)
        for child in ast.iter_child_nodes(each)
        if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant) and isinstance(child.value.value, str)
    }
    lines: set[int] = set()
    pending = [node]
    while pending:
        each = pending.pop()
        if id(each) in texts:
            continue
        if isinstance(each, ast.expr):
            # What is written over several lines has code on each of them.
            lines.update(range(each.lineno, (each.end_lineno or each.lineno) + 1))
        elif hasattr(each, "lineno"):
            lines.add(each.lineno)
        pending.extend(ast.iter_child_nodes(each))
    return lines


_Function = ast.FunctionDef | ast.AsyncFunctionDef
_CLASSES = {
    (module, node.name): node
    for module, tree in TREES.items()
    for node in ast.walk(tree)
    if isinstance(node, ast.ClassDef)
}


def _resolve(module: str, base: ast.expr) -> tuple[str, str] | None:
    """The class of ours that a base names; None for a class of somebody else."""
    if isinstance(base, ast.Subscript):
        base = base.value
    name = base.id if isinstance(base, ast.Name) else base.attr if isinstance(base, ast.Attribute) else ""
    if (module, name) in _CLASSES:
        return module, name
    for source in _sources(module).get(name, ()):
        if (source, name) in _CLASSES:
            return source, name
        # Re-exported by a package.
        if source in _IS_PACKAGE and source != module:
            return _resolve(source, ast.Name(name))
    return None


@functools.cache
def _sources(module: str) -> dict[str, list[str]]:
    """Each name that a module imports from the package, and where it may come from."""
    return {
        alias.asname or alias.name: list(_imported_from(module, node))
        for node in ast.walk(TREES[module])
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def _lineage(key: tuple[str, str]) -> list[tuple[str, str]]:
    """A class and those of ours that it inherits from, each once."""
    found = [key]
    for each in found:
        bases = (_resolve(each[0], base) for base in _CLASSES[each].bases)
        found.extend(base for base in bases if base is not None and base not in found)
    return found


def _is_overload(method: _Function) -> bool:
    return any(isinstance(each, ast.Name) and each.id == "overload" for each in method.decorator_list)


def test_each_part_of_the_engine_has_tests_of_its_own() -> None:
    tested = {path.name for path in (Path(__file__).parent / "engine").glob("test_*.py")}
    parts = {path.stem for path in (_PACKAGE / "_engine").glob("*.py")} - {"__init__"}
    assert {f"test_{part}.py" for part in parts} <= tested


def test_no_class_is_too_long() -> None:
    over = {}
    for key in _CLASSES:
        lines = sum(len(_code_lines(_CLASSES[each])) for each in _lineage(key))
        if lines > MOST_CLASS_LINES:
            over[".".join(key)] = lines
    assert over == {}


def test_no_class_has_too_many_methods() -> None:
    over = {}
    for key in _CLASSES:
        names = {
            method.name
            for each in _lineage(key)
            for method in _CLASSES[each].body
            if isinstance(method, _Function) and not _is_overload(method)
        }
        if len(names) > MOST_METHODS:
            over[".".join(key).removeprefix("stomplistener.")] = len(names)
    assert over == MORE_METHODS


def test_no_function_is_too_long() -> None:
    over = {}
    for module, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, _Function):
                # Decorators declare, as those of a command with twenty options.
                lines = len({line for line in _code_lines(node) if line >= node.lineno})
                if lines > MOST_FUNCTION_LINES:
                    over[f"{module}.{node.name}"] = lines
    assert over == {}
