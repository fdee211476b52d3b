"""Reports from a journal: one self-contained HTML file, and its numbers as JSON values."""

from mm_hybrid.report.page import build_report
from mm_hybrid.report.read import summary

__all__ = ["build_report", "summary"]
