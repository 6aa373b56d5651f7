"""Failure is told: the pure builder of RFC 3464 reports, and the agent that submits them."""
