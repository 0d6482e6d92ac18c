"""The restore tool: reads a vault with nothing but its URL and an identity, and proves it."""
