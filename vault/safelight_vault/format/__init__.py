"""The bytes of the vault (docs/format.md): every encoder beside its strict, bounded decoder.

Pure functions and small values; no module here reads a clock, a random source, a disk or a store.
"""
