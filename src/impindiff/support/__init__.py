"""Common utilities: memory limits, and tables for notebooks."""
