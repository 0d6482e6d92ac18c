"""Where restored files go: a directory tree that no name in a manifest can lead out of.

The invariant: everything is written beneath one directory file descriptor, component by component,
never through a symlink; a final name appears only when the content below it is whole and proven.
"""
