"""What may look at, change or refuse mail on its way in."""
