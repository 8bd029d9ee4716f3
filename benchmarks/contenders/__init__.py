"""The contenders: each answers the same workload in its own way, in a process of its own."""
