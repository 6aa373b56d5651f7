"""Where lists and maps come from: static and file backends."""
