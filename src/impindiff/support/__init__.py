"""What any room may use: the limit of memory, tables for notebooks."""
