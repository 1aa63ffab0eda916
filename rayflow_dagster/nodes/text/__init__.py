"""Joining, filling in and taking apart text."""
