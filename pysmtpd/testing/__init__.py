"""Shipped to users: a whole daemon on virtual time, contract suites, dialogues."""
