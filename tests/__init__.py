"""Tests, in the order of the rooms. A busy machine is no fault: Hypothesis may take its time in all of them."""

from hypothesis import HealthCheck, settings

settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")
