"""Holds every Python file of the product to the tail limits: file, function, complexity, parameters, public names, naming.

``python -m tools.checks.tails`` prints one line for each place past a limit and exits 1 if there is one.
"""

from __future__ import annotations

import ast
import pathlib
import sys
from collections.abc import Iterator

LIMIT_FILE_LINES = 300
LIMIT_FUNCTION_LINES = 60
LIMIT_P90_FUNCTION_LINES = 25
LIMIT_COMPLEXITY = 10
LIMIT_PARAMETERS = 5
LIMIT_PUBLIC_NAMES = 8
VAGUE_NAMES = {"utils", "helpers", "common", "manager", "misc", "base"}
DATA_MODELS = {"proxyconfig.py", "exchange.py", "errors.py", "wireformat.py", "model.py", "terms.py", "views.py"}
"""Modules that hold nothing but data types: the limit on public names does not apply to them."""

BRANCHES = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.IfExp, ast.comprehension, ast.Assert, ast.match_case)
Function = ast.FunctionDef | ast.AsyncFunctionDef


def check_tree(root: pathlib.Path) -> list[str]:
    """One line for each place under ``root/operator`` past a limit; empty when all is well."""
    found: list[str] = []
    lengths: list[int] = []
    for path in sorted((root / "operator").rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        tree = ast.parse(source)
        lines = code_lines(source, tree)
        name = str(path.relative_to(root))
        found += [f"{name}: {text}" for text in _check_module(path, tree, len(lines))]
        for node in ast.walk(tree):
            if isinstance(node, Function):
                span = len(lines & set(range(node.lineno, (node.end_lineno or node.lineno) + 1)))
                lengths.append(span)
                found += [f"{name}:{node.lineno} {node.name}: {text}" for text in _check_function(node, span)]
    if lengths and (p90 := sorted(lengths)[int(0.9 * (len(lengths) - 1))]) > LIMIT_P90_FUNCTION_LINES:
        found.append(f"operator: 90 % of the functions have up to {p90} lines, limit {LIMIT_P90_FUNCTION_LINES}")
    return found


def code_lines(source: str, tree: ast.Module) -> set[int]:
    """Numbers of the lines that hold code: no blank line, no comment, no docstring."""
    lines = {number for number, text in enumerate(source.splitlines(), 1) if text.strip() and not text.strip().startswith("#")}
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


def _check_module(path: pathlib.Path, tree: ast.Module, code: int) -> Iterator[str]:
    if code > LIMIT_FILE_LINES:
        yield f"{code} code lines, limit {LIMIT_FILE_LINES}"
    if path.stem in VAGUE_NAMES:
        yield "a name that says nothing"
    public = [
        node.name
        for node in tree.body
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_")
    ]
    if len(public) > LIMIT_PUBLIC_NAMES and path.name not in DATA_MODELS and path.parent.name != "api":
        yield f"{len(public)} public names, limit {LIMIT_PUBLIC_NAMES}"


def _check_function(node: Function, span: int) -> Iterator[str]:
    if span > LIMIT_FUNCTION_LINES:
        yield f"{span} lines, limit {LIMIT_FUNCTION_LINES}"
    if (found := _complexity(node)) > LIMIT_COMPLEXITY:
        yield f"complexity {found}, limit {LIMIT_COMPLEXITY}"
    positional = [argument for argument in (*node.args.posonlyargs, *node.args.args) if argument.arg not in {"self", "cls"}]
    if len(positional) + len(node.args.kwonlyargs) > LIMIT_PARAMETERS:
        yield f"{len(positional) + len(node.args.kwonlyargs)} parameters, limit {LIMIT_PARAMETERS}"


def _complexity(node: Function) -> int:
    branches = sum(isinstance(inner, BRANCHES) for inner in ast.walk(node))
    return 1 + branches + sum(len(inner.values) - 1 for inner in ast.walk(node) if isinstance(inner, ast.BoolOp))


def main() -> int:
    """Exit code 1 when something is past a limit."""
    found = check_tree(pathlib.Path.cwd())
    print("\n".join(found) or "within all limits")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
