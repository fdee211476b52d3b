"""One version everywhere, and a changelog that says what is in it."""

import re
import tomllib
from pathlib import Path

import mm_hybrid

REPO = Path(__file__).resolve().parents[2]


def changelog_versions() -> list[tuple[str, str]]:
    text = (REPO / "CHANGELOG.md").read_text(encoding="utf-8")
    return re.findall(r"^## \[(\d+\.\d+\.\d+)\] - (\S+)$", text, re.MULTILINE)


def test_the_package_has_the_version_of_the_workspace() -> None:
    workspace = tomllib.loads((REPO / "Cargo.toml").read_text(encoding="utf-8"))
    assert workspace["workspace"]["package"]["version"] == mm_hybrid.__version__


def test_the_changelog_begins_with_this_version() -> None:
    assert changelog_versions()[0][0] == mm_hybrid.__version__


def test_versions_in_the_changelog_descend_and_only_the_first_may_be_unreleased() -> None:
    versions = changelog_versions()
    numbers = [tuple(map(int, version.split("."))) for version, _ in versions]
    assert numbers == sorted(set(numbers), reverse=True)
    assert all(re.fullmatch(r"\d{4}-\d{2}-\d{2}", date) for _, date in versions[1:])
    assert versions[0][1] == "Unreleased" or re.fullmatch(r"\d{4}-\d{2}-\d{2}", versions[0][1])
