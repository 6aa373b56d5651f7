"""Statistics: pushed under dynamic keys, never read by logic."""
