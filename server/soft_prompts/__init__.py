"""What is resident: prefixes in host memory, their leases in the KV cache, and loading them from the store."""
