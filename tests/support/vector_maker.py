"""Makes the frozen test vectors: run once by hand, into a new directory, and never by a test.

    python tests/support/vector_maker.py NEW_DIRECTORY

Keys, ids and "random" bytes follow from fixed labels; what the primitives draw themselves (HPKE,
ML-DSA) differs from run to run, so vectors once committed are never made again: a change of the
format adds new ones beside them (format.md section 14). Run it as an ordinary user: the sample
vault's source holds a file that root alone could read.
"""

import sys
from pathlib import Path

import vector_cases_keys
import vector_cases_objects
import vector_cases_packs
import vector_cases_pages
import vector_cases_references
import vector_cases_snapshots
import vector_cases_vault
import vector_index
from vector_collection import Collection

CASES = (
    vector_cases_keys,
    vector_cases_objects,
    vector_cases_packs,
    vector_cases_references,
    vector_cases_pages,
    vector_cases_snapshots,
    vector_cases_vault,
)


def main() -> None:
    """Make all vectors in the directory that the command line names."""
    directory = Path(sys.argv[1]).resolve()
    directory.mkdir()
    vector_index.VECTORS = directory
    collection = Collection(directory)
    for cases in CASES:
        cases.add_to(collection)
    collection.find_values()


if __name__ == "__main__":
    main()
