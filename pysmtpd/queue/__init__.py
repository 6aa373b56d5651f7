"""Durable acceptance: the front that every submission passes, and the backends under it."""
