"""Every error that Safelight raises on purpose, and what the operator does next about it.

The tree, with the exit code of each class in brackets:

    VaultError [1]
    ├── ConfigurationError [2]        a setting, file or option is wrong: mend it and run again
    │   └── UnsupportedFormatError    the vault is newer than this program: install a newer one
    ├── CorruptError [3]              bytes are not what was signed or named: damage or attack
    │   ├── ObjectMissingError        an object that the vault needs is not there
    │   ├── ForeignVaultError         an object that says it belongs to another vault
    │   └── DecodeError               bytes that do not follow docs/format.md
    ├── WrongIdentityError [4]        the key at hand does not open this vault
    ├── RefusedError [5]              it could be done, but must not be
    │   ├── NameTakenError            the store refuses to write a name twice (412)
    │   ├── AccessDeniedError         the store refuses these credentials (403 is never "absent")
    │   ├── LockRefusedError          a lock was not set, not long enough, or could not be extended
    │   ├── ClockSkewError            our clock and the store's disagree: nothing is locked
    │   └── LeaseHeldError            another run of this source is at work
    ├── StoreUnreachableError [6]     nothing is known to be wrong with the data: try again later
    └── IncompleteError [7]           the work ended, but not all of it could be done

Rules: classes differ by *what the operator does next*, not by module. Foreign exceptions become
these at the one module that imports their library, with ``raise ... from``. Programming errors are
not part of the tree and are never caught. Only the two ``cli`` modules turn errors into text and
exit codes. No message carries patient data: paths are shown only by the restore tool.
"""

from typing import ClassVar


class VaultError(Exception):
    """Root of all errors raised on purpose; knows its exit code and the operator's next step."""

    exit_code: ClassVar[int] = 1
    remedy: ClassVar[str] = "Please report this with the log of the run."

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.next_step = remedy or type(self).remedy


class ConfigurationError(VaultError):
    """A setting, an option or a file given by the operator is wrong."""

    exit_code = 2
    remedy = "Correct the setting or option named above and run the command again."


class UnsupportedFormatError(ConfigurationError):
    """Authentic bytes of a format version that this program does not know."""

    remedy = "Install a newer release of Safelight; the data is not damaged."


class CorruptError(VaultError):
    """Bytes in the vault differ from what their name, signature or seal promises."""

    exit_code = 3
    remedy = (
        "Treat it as damage or attack: keep the vault as it is, run 'safelight-restore audit', "
        "and restore from an older snapshot or another copy of the vault."
    )


class ObjectMissingError(CorruptError):
    """The store has no such object or no such version of it."""


class ForeignVaultError(CorruptError):
    """An object whose frame names another vault: planted, or the wrong key file is at hand."""


class DecodeError(CorruptError):
    """Bytes do not follow docs/format.md (wrong magic, length, order, trailing bytes...)."""


class WrongIdentityError(VaultError):
    """The identity, administrator key or agent key at hand is not one that this vault knows."""

    exit_code = 4
    remedy = "Use an identity of this vault: the fingerprints it is sealed to are listed above."


class RefusedError(VaultError):
    """The store or a safety rule refuses the operation."""

    exit_code = 5
    remedy = "Read the reason above; nothing was changed by the refused step."


class NameTakenError(RefusedError):
    """The store holds this name already and refuses to write it again."""


class AccessDeniedError(RefusedError):
    """The store refuses these credentials for this operation."""

    remedy = "Check that the credentials are current and that their policy allows this operation."


class LockRefusedError(RefusedError):
    """A retention lock was not set as asked, or could not be extended."""

    remedy = "Check that Object Lock is enabled on the bucket and that the policy's cap is not met."


class ClockSkewError(RefusedError):
    """The system clock and the store's clock disagree, or time jumped; nothing is locked."""

    remedy = "Correct the system clock (NTP) and run again: a wrong date would lock irrevocably."


class LeaseHeldError(RefusedError):
    """Another process on this machine holds the lease of this source."""

    remedy = "Wait for the other run to end; its process id is named above."


class StoreUnreachableError(VaultError):
    """The store did not answer, or asked to slow down, until the retries were used up."""

    exit_code = 6
    remedy = "Check the network and the store, then run again: what was stored is kept."


class IncompleteError(VaultError):
    """The work ended, but part of it could not be done; the parts are listed."""

    exit_code = 7
    remedy = "See the list of files above; the next run tries them again."
