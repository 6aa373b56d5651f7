"""Pure: which rule matches, which action follows, how an address expands. It asks questions and decides; it does nothing."""
