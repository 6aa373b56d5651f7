"""Local delivery: Maildir, and the delivery hosts that run as the target user."""
