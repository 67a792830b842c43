"""The rows of docs/benchmarks.md, each a function of its own."""
