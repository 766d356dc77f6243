"""Calls written as Python: keyword arguments that are constants, in a list or one a line.

Owns the only use of Python's own parser. Nothing is evaluated.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from typing import Final

MAX_PYTHON: Final = 65_536
"""Characters of a text with calls, which is read in one go. Python's own parser takes some hundred
bytes of memory for each."""

_SPACE = " \t\r\n"
_CODE = re.compile(r"[()=]")
_REVERSED_NAME = re.compile(r"\s*([\w.]*)\s*(\[?)")
_JSON_CONSTANTS = {"true": True, "false": False, "null": None}


def read_calls(source: str) -> list[tuple[str, str]]:
    """The names of the calls in ``source``, and their arguments as a JSON object's text. They may
    stand between markers. Raises ValueError if they are not such calls, or too long."""
    if len(source) > MAX_PYTHON:
        raise ValueError("too long")
    try:
        return [_read_call(node) for node in _expressions(source)]
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError("no call in Python") from error


def _expressions(source: str) -> list[ast.expr]:
    """The expressions in ``source``, which may stand between markers: those hold no brackets of
    Python's but one that opens the list."""
    opens, closes = source.find("("), source.rfind(")")
    found = _REVERSED_NAME.match(source[:opens][::-1]) if opens >= 0 else None
    if found is None or closes < opens or "(" in source[closes:]:
        raise ValueError("no call in Python")
    start, end = opens - found.end(1), closes + 1
    code, rest = source[start:end], source[end:]
    if _CODE.search(source[:start]):
        raise ValueError("no call in Python")
    if found[2] and not rest.lstrip(_SPACE + ",").startswith("]"):
        raise ValueError("no call in Python")
    with warnings.catch_warnings():
        # What Python thinks of "\d" is of no interest here.
        warnings.simplefilter("ignore")
        statements = ast.parse(f"[{code}]" if found[2] else code).body
    expressions: list[ast.expr] = []
    for statement in statements:
        if not isinstance(statement, ast.Expr):
            raise ValueError("no call in Python")
        value = statement.value
        expressions += value.elts if isinstance(value, ast.List | ast.Tuple) else [value]
    return expressions


def _read_call(node: ast.expr) -> tuple[str, str]:
    """The name of a call, and its arguments as JSON."""
    if not isinstance(node, ast.Call) or node.args:
        raise ValueError("no call in Python")
    arguments: dict[str, object] = {}
    for keyword in node.keywords:
        if keyword.arg is None or keyword.arg in arguments:
            raise ValueError("no call in Python")
        arguments[keyword.arg] = _constant(keyword.value)
    return ast.unparse(node.func), json.dumps(arguments, ensure_ascii=False, allow_nan=False)


def _constant(node: ast.expr) -> object:
    match node:
        case ast.Constant(value=None | bool() | int() | float() | str() as value):
            return value
        case ast.Name(id=("true" | "false" | "null") as name):
            return _JSON_CONSTANTS[name]
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_constant(item) for item in items]
        case ast.Dict(keys=keys, values=values):
            return {_key(key): _constant(item) for key, item in zip(keys, values, strict=True)}
    raise ValueError("no call in Python")


def _key(node: ast.expr | None) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    raise ValueError("no call in Python")
