"""From socket to session to transaction: listeners, their limits, and one file for the policy of each SMTP verb."""
