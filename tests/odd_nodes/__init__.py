"""Nodes that misbehave, each in one way."""
