"""Stories of the whole daemon, as its users see them."""
