"""The command `impindiff`."""
