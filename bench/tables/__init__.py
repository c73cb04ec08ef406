"""Records -> tables: rows, comparisons, statistics and pages, pure functions of the records."""
