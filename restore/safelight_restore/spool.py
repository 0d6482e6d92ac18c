"""The plan on disk: one SQLite file that holds every entry to restore and every piece to write.

The invariant: memory does not grow with the archive. Whatever is per file or per piece lives here,
is written in batches and read in pages; the rows of ``writes`` are kept in pack order by their
primary key. The file doubles as the record of what is finished, so that a killed restore resumes.

A power cut loses at most the newest transactions (``database.py``): then files are restored again
that were finished already, never the other way round, because a file is marked finished only after
its content was made durable.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final

from safelight_restore.database import Database, Row
from safelight_restore.target.metadata import Metadata
from safelight_restore.target.path import Parts, source_parts, split_path
from safelight_vault.format.manifest import Entry, EntryKind, Hole, Place
from safelight_vault.format.wire import Reader, Writer

_APPLICATION: Final = 0x53_4C_52_31
_VERSION: Final = 1
_BUFFERED_ROWS_MAX: Final = 2000
_COMMIT_ROWS: Final = 100_000
_KNOWN_PACKS_MAX: Final = 4096
_XATTRS_MAX: Final = 1 << 16
_XATTR_BYTES_MAX: Final = 1 << 24

_SCHEMA: Final = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE sources (id INTEGER PRIMARY KEY, name BLOB NOT NULL);
CREATE TABLE files (
    id INTEGER PRIMARY KEY, source INTEGER NOT NULL, path BLOB NOT NULL, kind INTEGER NOT NULL,
    mode INTEGER NOT NULL, uid INTEGER NOT NULL, gid INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    xattrs BLOB NOT NULL, size_bytes INTEGER NOT NULL, sha256 BLOB NOT NULL,
    link_target BLOB NOT NULL, linked_file INTEGER, replace INTEGER NOT NULL,
    unstable INTEGER NOT NULL, bytes_stored INTEGER NOT NULL, bytes_pending INTEGER NOT NULL,
    state INTEGER NOT NULL, reason TEXT, exit_code INTEGER, seen_mtime_ns INTEGER
);
CREATE INDEX files_beside ON files (kind, id) WHERE kind != 1;
CREATE INDEX files_without_bytes ON files (id) WHERE kind = 1 AND bytes_stored = 0;
CREATE INDEX files_equal ON files (state, id) WHERE state IN (1, 4);
CREATE INDEX files_failed ON files (id) WHERE state >= 5;
CREATE TABLE packs (id INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE);
CREATE TABLE writes (
    pack INTEGER NOT NULL, block_offset INTEGER NOT NULL, block_number INTEGER NOT NULL,
    block_length INTEGER NOT NULL, file INTEGER NOT NULL, file_offset INTEGER NOT NULL,
    offset INTEGER NOT NULL, length INTEGER NOT NULL,
    PRIMARY KEY (pack, block_offset, block_number, block_length, file, file_offset)
) WITHOUT ROWID;
CREATE TABLE reads (
    first_file INTEGER NOT NULL, pack INTEGER NOT NULL, first BLOB NOT NULL
);
"""
