"""Fixtures and options every test shares."""

import os
import signal
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--vectors",
        type=Path,
        default=REPO / "tests" / "data" / "model_vectors.json",
        help="file of model test vectors (schema mm-model-vectors/1)",
    )


def pytest_configure() -> None:
    # A shell starts what it puts in the background with Ctrl-C ignored, and each process of the tests would inherit it.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of real market data; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("MM_HYBRID_DATA", REPO.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no market data at {folder}: set MM_HYBRID_DATA to the folder that holds it")
    return folder
