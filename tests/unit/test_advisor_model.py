"""Which model may answer in another's name: the one asked for, and a dated release of it."""

import pytest

from mm_hybrid.optimizer.question import same_model


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("gpt-4.1", "gpt-4.1"),
        ("gpt-4.1", "gpt-4.1-2025-04-14"),
        ("claude-sonnet-4.5", "claude-sonnet-4.5-20250929"),
        ("openai/gpt-4.1", "openai/gpt-4.1-2025-04-14"),
        ("openai/gpt-4.1", "gpt-4.1"),
    ],
)
def test_the_model_asked_for_or_a_dated_release_of_it_may_answer(asked: str, answered: str) -> None:
    assert same_model(asked, answered)


@pytest.mark.parametrize(
    "answered",
    [
        "gpt-4.1-nano", "gpt-4.1-mini-2025", "gpt-4.1-mini-2025-04-14", "evil/gpt-4.1", "gpt-4.1-2025", "gpt-4.1-",
        "gpt-4.1-2025-0414", "gpt-4.1-20251399", "gpt-4.1-2025-04-14\n", "gpt-4.10", "gpt-4", "GPT-4.1", "",
    ],
)  # fmt: skip
def test_another_model_of_the_family_or_another_vendor_may_not(answered: str) -> None:
    assert not same_model("gpt-4.1", answered)
