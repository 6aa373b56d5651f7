"""What destinations publish about TLS: found, kept, and asked again in time."""
