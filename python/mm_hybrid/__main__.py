"""Run the command line as ``python -m mm_hybrid``."""

from mm_hybrid.cli import main

main()
