"""A script is loaded once, and what is wrong with it is named with its line."""

from pathlib import Path

import pytest

from mm_hybrid.errors import ConfigError, StrategyError
from mm_hybrid.strategy import load

REPO = Path(__file__).resolve().parents[2]


def script(folder: Path, text: str) -> Path:
    path = folder / "mine.py"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["closed_form.py", "my_first_strategy.py"])
def test_the_examples_load(name: str) -> None:
    assert callable(load(REPO / "examples" / name).quotes)


def test_a_function_is_a_strategy(tmp_path: Path) -> None:
    strategy = load(script(tmp_path, "def quotes(features, position, advice):\n    return [('buy', 1.0)]\n"))
    assert strategy.quotes(None, None, None) == [("buy", 1.0)]


def test_an_object_with_state_is_a_strategy(tmp_path: Path) -> None:
    text = "class Mine:\n    def quotes(self, features, position, advice):\n        return []\nstrategy = Mine()\n"
    assert load(script(tmp_path, text)).quotes(None, None, None) == []


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("def quotes(:\n", "mine.py:1"),
        ("import sys\nsys.exit(0)\n", "mine.py:2: SystemExit"),
        ("x = 1\n1/0\n", "mine.py:2: ZeroDivisionError"),
        ("import no_such_module_at_all\n", "no_such_module_at_all"),
        ("x = 1\n", "neither a function quotes"),
    ],
)
def test_a_broken_script_is_named_with_its_line(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(StrategyError, match=named):
        load(script(tmp_path, text))


def test_a_missing_script_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.py: no such strategy script"):
        load(tmp_path / "gone.py")
