"""What is in the vault: its format, its keys, and the stores it lies in.

Both programs stand on this package and it knows neither. The invariant it guards: objects are
written once, under a name that contains the SHA-256 of their bytes, in the order packs, index
segments, reference table, snapshot; the snapshot's put is the only commit point. docs/format.md is
the normative description of every byte.
"""
