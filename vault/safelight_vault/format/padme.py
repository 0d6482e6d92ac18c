"""Padmé: the padded size of an object, so that its length tells little about its content.

Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and Communication with PURBs",
PoPETs 2019, section 4.3: at most 12 % overhead for tiny objects, under 3 % for packs.
"""


def padme(size_bytes: int) -> int:
    """The smallest permitted size that holds ``size_bytes``."""
    if size_bytes < 2:
        return size_bytes
    exponent = size_bytes.bit_length() - 1
    mantissa_bits = exponent.bit_length()
    low_bits = max(exponent - mantissa_bits, 0)
    mask = (1 << low_bits) - 1
    return (size_bytes + mask) & ~mask
