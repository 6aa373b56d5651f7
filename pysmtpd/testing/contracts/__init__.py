"""Contract suites: what every backend of a kind has to keep, as test cases to mix into one's own."""
