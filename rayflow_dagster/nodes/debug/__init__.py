"""Looking at what a flow does."""
