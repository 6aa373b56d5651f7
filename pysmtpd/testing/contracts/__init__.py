"""Contract suites: what every backend must do, as tests to inherit from."""
