"""smtpd.conf(5): lexer, grammar, and the checks that turn a file into one frozen Config."""

from pysmtpd.config.environment import Environment
from pysmtpd.config.load import load
from pysmtpd.config.problem import ConfigErrors, Problem

__all__ = ["ConfigErrors", "Environment", "Problem", "load"]
