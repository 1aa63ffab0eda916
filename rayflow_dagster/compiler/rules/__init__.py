"""A resolved flow in, what is wrong with it out: one function for each rule."""
