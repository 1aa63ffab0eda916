"""What a ``file`` sensor sees: shared passes over folders, and which of their files are new."""

from .cursor import begun_of, new_files
from .files import FoundFile
from .listings import Listings
from .patterns import Pattern

__all__ = ["FoundFile", "Listings", "Pattern", "begun_of", "new_files"]
