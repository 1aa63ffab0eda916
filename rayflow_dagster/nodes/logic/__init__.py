"""Comparing, combining truth values, and choosing a way."""
