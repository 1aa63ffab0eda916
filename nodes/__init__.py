"""The nodes of this project, for the flows in ``flows/``."""
