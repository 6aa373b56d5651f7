"""When: the pure plan, its backends, and the one timer that hands ready work to the agents."""
