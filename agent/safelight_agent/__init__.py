"""The agent: scans sources and writes them into the vault; it can never read back what it wrote."""
