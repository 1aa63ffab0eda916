"""What a ``file`` sensor sees: shared passes over folders, and which of their files are new."""

from .cursor import new_files
from .files import FoundFile
from .listings import Listings
from .patterns import Pattern

__all__ = ["FoundFile", "Listings", "Pattern", "new_files"]
