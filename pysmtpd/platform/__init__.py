"""The real world: the only place that touches real clocks, threads, files, processes and randomness."""
