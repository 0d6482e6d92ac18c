"""The restore tool: reads the vault with nothing but its URL and an identity, and proves the result."""
