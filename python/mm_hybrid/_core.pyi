"""The Rust core: feeds, books, models, simulation. Pull only: nothing here calls back into Python."""

__version__: str

class MmHybridError(Exception):
    """Base of every error of this package."""

class FeedError(MmHybridError):
    """The market-data feed cannot be started or used."""

class DecodeError(MmHybridError):
    """A message or row that does not have the expected form."""

class ReplayError(MmHybridError):
    """A data file that cannot be read."""

class BookError(MmHybridError):
    """An order book that cannot be built."""

class CacheError(MmHybridError):
    """The local cache failed."""
