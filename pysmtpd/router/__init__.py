"""Drives the ruleset: answers its questions from tables, users and DNS."""
