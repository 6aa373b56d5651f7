"""C{twistd pysmtpd}."""

from twisted.application.service import ServiceMaker

pysmtpd = ServiceMaker("pysmtpd", "pysmtpd.tap", "A complete, durable, explainable mail transfer agent.", "pysmtpd")
