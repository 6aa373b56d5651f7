"""One typed event for each fate; the bus that carries them; the mail log."""
