"""The nodes of the benchmarks, as an author would write them."""
