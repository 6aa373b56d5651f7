"""Certificates, and the contexts made from them."""
