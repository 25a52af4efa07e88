"""`python -m impindiff`."""

from impindiff.cli import main

main()
