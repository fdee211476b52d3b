"""Market making on Bybit and Bitget: feed, book, optimizer and execution in one package."""

from mm_hybrid._core import MmHybridError, __version__

__all__ = ["MmHybridError", "__version__"]
