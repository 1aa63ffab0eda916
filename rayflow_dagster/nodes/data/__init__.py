"""JSON, dicts and lists."""
