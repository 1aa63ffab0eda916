"""Finding files and sharing them out."""
