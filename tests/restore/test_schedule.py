"""Reads: every piece in exactly one of them, and each of bounded size."""

from hypothesis import given
from hypothesis import strategies as st

from safelight_restore.schedule import group_reads
from safelight_restore.spool import WriteRow

MIB = 1 << 20


def row(*, pack: int = 1, block: int = 0, file: int = 1, length: int = 100) -> WriteRow:
    return WriteRow(
        pack=pack,
        block_offset=block * MIB,
        block_number=block,
        block_length=MIB,
        file=file,
        file_offset=0,
        offset=0,
        length=length,
    )


ROWS = st.lists(
    st.builds(
        row,
        pack=st.integers(1, 3),
        block=st.integers(0, 40),
        file=st.integers(1, 50),
        length=st.sampled_from([1, 100, 4 * MIB]),
    ),
    max_size=200,
    unique_by=lambda write: (write.pack, write.key),
).map(lambda rows: sorted(rows, key=lambda write: (write.pack, write.key)))


@given(ROWS)
def test_each_piece_is_in_exactly_one_read(rows: list[WriteRow]) -> None:
    reads = list(group_reads(rows))
    covered = [
        [w for w in rows if w.pack == read.pack and read.first <= w.key <= read.last]
        for read in reads
    ]
    assert [write for run in covered for write in run] == rows
    for read, run in zip(reads, covered, strict=True):
        assert read.first_file == min(write.file for write in run)
        blocks = {write.key[:3] for write in run}
        assert read.sealed_bytes == len(blocks) * MIB
        assert read.sealed_bytes <= 8 * MIB
        assert read.memory_bytes <= read.sealed_bytes + 36 * MIB


def test_blocks_side_by_side_are_one_request_and_distant_ones_are_not() -> None:
    (near,) = group_reads([row(block=0), row(block=1)])
    assert near.requests == 1
    (far,) = group_reads([row(block=0), row(block=2)])
    assert far.requests == 2


def test_a_block_that_very_many_files_share_is_split_between_files() -> None:
    rows = [row(file=number) for number in range(10_000)]
    reads = list(group_reads(rows))
    assert [read.first[3] for read in reads] == [0, 4096, 8192]
