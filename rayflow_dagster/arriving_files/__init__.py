"""What a ``file`` sensor sees: shared passes over folders, and which of their files are new."""

from .cursor import begun_of, new_files
from .listings import Listings
from .passes import FoundFile
from .patterns import Pattern

__all__ = ["FoundFile", "Listings", "Pattern", "begun_of", "new_files"]
