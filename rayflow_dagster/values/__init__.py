"""A value in; what is stored, sent and shown of it out."""
