"""Makes RESULTS.md anew, benchmark by benchmark, and tells how old its figures are (``python -m benchmarks``)."""
