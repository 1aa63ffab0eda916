"""Counting words and reporting on them."""
