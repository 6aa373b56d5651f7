"""What a daemon that was started as root does so that nothing which reads a peer's octets runs as root: see docs/privileges.md."""
