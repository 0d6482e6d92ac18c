"""Hypothesis strategies for names of objects, shaped to collide: digests, beginnings of others."""

from hypothesis import strategies as st

DIGESTS = st.binary(min_size=32, max_size=32).map(bytes.hex)

SEGMENTS = st.one_of(
    DIGESTS,
    st.text("ab01._-", min_size=1, max_size=10).filter(lambda text: text not in {".", ".."}),
)

NAMES = st.lists(SEGMENTS, min_size=1, max_size=4).map("/".join)


def version_ids() -> st.SearchStrategy[str]:
    """VersionIds within the limits of the format: what stores give, at small sizes."""
    return st.from_regex(r"[!-~]{1,40}", fullmatch=True)
