"""Traffic shaping: how fast mail may leave, and what is not to leave now."""
