"""Checking a file of orders."""
