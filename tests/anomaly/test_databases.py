"""The PACS database beside its files: copied while it is written to, or before what it names."""
