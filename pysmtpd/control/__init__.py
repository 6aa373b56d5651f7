"""The AMP control socket: its commands, server, client, and pysmtpctl."""
