"""The real world: the only place that touches real clocks, threads, files, processes and randomness."""

from pysmtpd.platform.real import RealPlatform

__all__ = ["RealPlatform"]
