"""The logic of a scheduler, pure: the ram backend's, and the model that the contract suite is checked against."""

from pysmtpd.scheduler.plan.plan import Plan

__all__ = ["Plan"]
