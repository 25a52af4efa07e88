"""The steppers inside other libraries."""
