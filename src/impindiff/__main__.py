"""Entry point of `python -m impindiff`."""

from impindiff.command.cli import main

main()
