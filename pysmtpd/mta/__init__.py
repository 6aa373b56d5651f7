"""Remote delivery: relays, routes, hosts and the connections that they share."""
