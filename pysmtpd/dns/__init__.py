"""Questions to DNS: a stub resolver that merges and caches."""
