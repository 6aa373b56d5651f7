"""What a daemon that was started as root does so that nothing which reads a peer's octets runs as root, but for PAM: see docs/privileges.md."""
