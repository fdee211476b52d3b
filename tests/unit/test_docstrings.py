"""What ``help()`` shows of the models is what the stubs say, so that the two cannot drift apart."""

import ast
import inspect
from collections.abc import Iterator
from functools import reduce
from pathlib import Path

import pytest

import mm_hybrid
from mm_hybrid import models

STUB = Path(mm_hybrid.__file__).with_name("_core.pyi")


def documented(nodes: list[ast.stmt], prefix: str = "") -> Iterator[tuple[str, str]]:
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            text = ast.get_docstring(node)
            if text is not None:
                yield prefix + node.name, text
            if isinstance(node, ast.ClassDef):
                yield from documented(node.body, f"{prefix}{node.name}.")


STUBS = {
    name: text
    for name, text in documented(ast.parse(STUB.read_text(encoding="utf-8")).body)
    if name.partition(".")[0] in models.__all__
}


@pytest.mark.parametrize("name", sorted({*models.__all__, *STUBS}))
def test_help_says_what_the_stubs_say(name: str) -> None:
    runtime = reduce(getattr, name.split("."), models).__doc__  # type: ignore[arg-type]
    assert runtime is not None
    assert inspect.cleandoc(runtime) == STUBS[name]
