"""smtpd.conf(5): lexer, grammar, and the checks that turn a file into one frozen Config."""

from pysmtpd.config.environment import Environment
from pysmtpd.config.load import Reading, load
from pysmtpd.config.problem import ConfigErrors, Finding, Problem
from pysmtpd.config.unbuilt import UNBUILT, unbuilt

__all__ = ["UNBUILT", "ConfigErrors", "Environment", "Finding", "Problem", "Reading", "load", "unbuilt"]
