"""Annotation files of each benchmark, brought to the common records; and the benchmarks the demo makes for itself."""
