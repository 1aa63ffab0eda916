"""From one type to another, or an error that says why not. Nothing is guessed."""
