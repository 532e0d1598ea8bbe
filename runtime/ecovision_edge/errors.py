"""Every error that ecovision-edge raises on purpose.

Each leaf is also the standard exception that it is, so `except ValueError` and `except OSError` work too::

    EcovisionError
    ├── ContractError (ValueError)             the contract or manifest is malformed or contradicts itself
    │   ├── MissingContractError               the model carries no contract
    │   └── SchemaVersionError                 written by a newer ecovision-edge
    ├── BundleError
    │   ├── BundleNotFoundError (FileNotFoundError)
    │   ├── BundleReadError (OSError)          there, but not readable, or not of a sane size
    │   ├── BundleWriteError (OSError)
    │   ├── IntegrityError (ValueError)        the bytes are not those that the manifest names
    │   ├── UnsafePathError (ValueError)       a path that leaves the bundle
    │   └── ArtifactNotFoundError (LookupError)
    ├── ModelError (ValueError)                the model cannot be opened, or does not fit its contract
    ├── FrameError                             what was given as a frame is not one
    │   ├── FrameTypeError (TypeError)
    │   └── FrameValueError (ValueError)
    ├── ImageReadError (OSError)               an image file that cannot be read or decoded
    ├── OptionError (ValueError)               an option outside its range
    ├── InferenceError (RuntimeError)          the engine failed while running
    ├── ProfileWriteError (OSError)            the device profile could not be saved
    ├── CameraError
    │   ├── SourceError (ValueError)           no such kind of source, or an option of it is wrong
    │   ├── SourceOpenError (OSError)          the source cannot be opened now; tried again in a loop
    │   ├── CaptureError (OSError)             an open source gave no frame, or none that is one
    │   │   └── BadFrameError                  one frame is of no use; the next one may be good
    │   └── CameraLostError (OSError)          given up: as often as allowed it could not be reconnected
    ├── RecordError (OSError)                  a recording cannot be written, or read
    ├── ServeError (OSError)                   the page cannot be served
    ├── RulesError (ValueError)                a file of rules is malformed, or does not fit the model
    ├── SinkError (OSError)                    an event could not be delivered, or a sink's address is wrong
    ├── PinError (OSError)                     a pin, or the chip that it belongs to, cannot be used
    ├── TriggerError (OSError)                 what tells that an item came cannot be used
    ├── LoopStuckError (TimeoutError)          the loop did not end in the time it was given
    ├── MissingDependencyError (ImportError)   an optional library is not installed, or is too old
    │   └── DeadlyEngineError                  an engine that would end the process on this CPU
    ├── WheelsError (OSError)                  the wheels for a board cannot be collected
    ├── UpdateError                            a bundle was not updated; the old one runs
    │   ├── StoreError (OSError)               the folder of bundles cannot be changed now; try later
    │   ├── FetchError (OSError)               the repository cannot be reached, or breaks off; try later
    │   ├── UntrustedError (ValueError)        what it says is not signed as it should be, or is too old
    │   ├── GateError (ValueError)             the new bundle did not prove itself on this device
    │   ├── RestartError (RuntimeError)        what is current cannot replace what runs: start again
    │   └── TryLaterError (OSError)            the device cannot do it now: memory is short, for instance
    ├── ReleaseError (ValueError)              releases cannot be published as asked
    ├── SigningKeyError (OSError)              a publisher's key cannot be used: read, opened, written
    └── ExportError                            raised by ecovision_edge_export
        ├── CheckpointError (ValueError)       the weights are not what they should be
        ├── DownloadError (OSError)            the weights could not be fetched
        ├── PushError (OSError)                the bundle could not be pushed to a hub
        ├── DatasetError (ValueError)          the photographs are not what they should be
        ├── StageError (RuntimeError)          a stage failed; says which, and what ran before it
        └── ParityError (RuntimeError)         the exported model disagrees with PyTorch

The exporter refines two of them where it raises them: `TargetError`, a `BundleWriteError`, and
`GateClosedError`, a `ParityError` that carries the figures. The trainer adds `InterruptedTrainingError`, an
`ExportError` with exit status 130.

`exit_status` is what the command line returns for it: 1 for a check that failed, 2 for misuse, and 75, the
`EX_TEMPFAIL` of `sysexits.h`, for what may go well later.
"""

from __future__ import annotations

__all__ = [
    "ArtifactNotFoundError",
    "BadFrameError",
    "BundleError",
    "BundleNotFoundError",
    "BundleReadError",
    "BundleWriteError",
    "CameraError",
    "CameraLostError",
    "CaptureError",
    "CheckpointError",
    "ContractError",
    "DatasetError",
    "DeadlyEngineError",
    "DownloadError",
    "EcovisionError",
    "ExportError",
    "FetchError",
    "FrameError",
    "FrameTypeError",
    "FrameValueError",
    "GateError",
    "ImageReadError",
    "InferenceError",
    "IntegrityError",
    "LoopStuckError",
    "MissingContractError",
    "MissingDependencyError",
    "ModelError",
    "OptionError",
    "ParityError",
    "PinError",
    "ProfileWriteError",
    "PushError",
    "RecordError",
    "ReleaseError",
    "RestartError",
    "RulesError",
    "SchemaVersionError",
    "ServeError",
    "SigningKeyError",
    "SinkError",
    "SourceError",
    "SourceOpenError",
    "StageError",
    "StoreError",
    "TriggerError",
    "TryLaterError",
    "UnsafePathError",
    "UntrustedError",
    "UpdateError",
    "WheelsError",
]


class EcovisionError(Exception):
    """Base of all errors of ecovision-edge: what was expected, what was found, what to do.

    Args:
        problem: What is wrong, in a few words.
        expected: What would have been right.
        found: What was there instead.
        fix: What to do about it.

    The message is one printable line: `problem: expected ..., found ...; fix`. What was found where nothing
    certain was expected, such as the words of another library, follows at once: `problem: no such host; fix`.
    Its two halves are `finding` and `fix`, which is empty where there is nothing to do.
    """

    exit_status: int = 1

    def __init__(
        self,
        problem: str,
        *,
        expected: object = None,
        found: object = None,
        fix: str | None = None,
    ) -> None:
        parts = []
        if expected is not None:
            parts.append(f"expected {expected}")
        if found is not None:
            words = str(found).strip() or "nothing"
            parts.append(f"found {words}" if parts else words)
        message = problem if not parts else f"{problem}: {', '.join(parts)}"
        self.finding, self.fix = _one_line(message), _one_line(fix or "")
        self.message = f"{self.finding}; {self.fix}" if self.fix else self.finding
        super().__init__(self.message)

    def __str__(self) -> str:
        return self.message


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in " ".join(text.split()))


class ContractError(EcovisionError, ValueError):
    """The contract or the manifest is malformed, or contradicts itself or the model."""


class MissingContractError(ContractError):
    """The model file carries no contract, so nobody can say how to prepare its input."""


class SchemaVersionError(ContractError):
    """The contract was written by a newer ecovision-edge."""


class BundleError(EcovisionError):
    """Something about a bundle folder."""


class BundleNotFoundError(BundleError, FileNotFoundError):
    """No bundle or model at that path."""

    exit_status = 2


class BundleReadError(BundleError, OSError):
    """A file of the bundle is there but cannot be read, or is not of a sane size."""


class BundleWriteError(BundleError, OSError):
    """The bundle could not be written; what was there before is untouched."""


class IntegrityError(BundleError, ValueError):
    """The bytes on disk are not those that the manifest names."""


class UnsafePathError(BundleError, ValueError):
    """A path in the manifest leaves the bundle."""


class ArtifactNotFoundError(BundleError, LookupError):
    """The bundle has no such artifact."""

    exit_status = 2


class ModelError(EcovisionError, ValueError):
    """The model cannot be opened by the engine, or does not fit its contract."""


class FrameError(EcovisionError):
    """What was given as a frame is not one."""

    exit_status = 2


class FrameTypeError(FrameError, TypeError):
    """Not a numpy array, or of a dtype with no unambiguous meaning."""


class FrameValueError(FrameError, ValueError):
    """Empty, of a wrong shape, or with values out of range."""


class ImageReadError(EcovisionError, OSError):
    """An image file cannot be read or decoded."""

    exit_status = 2


class OptionError(EcovisionError, ValueError):
    """An option outside its range."""

    exit_status = 2


class InferenceError(EcovisionError, RuntimeError):
    """The engine failed while running the network."""


class ProfileWriteError(EcovisionError, OSError):
    """The device profile could not be saved; one that was there before is untouched."""


class CameraError(EcovisionError):
    """Something about a source of frames."""


class SourceError(CameraError, ValueError):
    """There is no such kind of source, or an option of it is wrong; trying again would not help."""

    exit_status = 2


class SourceOpenError(CameraError, OSError):
    """The source cannot be opened now: no such device, no answer, no picture."""


class CaptureError(CameraError, OSError):
    """An open source gave no frame in time, failed, or gave what is no frame."""


class BadFrameError(CaptureError):
    """One frame is empty, cut off, or cannot be decoded; the connection is well, and the next may be good."""


class CameraLostError(CameraError, OSError):
    """The source could not be reconnected as often as was allowed; the message has the last reason."""


class RecordError(EcovisionError, OSError):
    """A recording cannot be written, or read again."""


class ServeError(EcovisionError, OSError):
    """The live page cannot be served: the port is taken, for instance."""


class RulesError(EcovisionError, ValueError):
    """A file of rules is malformed, or does not fit the model's labels; the message names the key."""

    exit_status = 2


class SinkError(EcovisionError, OSError):
    """An event could not be delivered now; or a sink cannot be what its address says."""


class TriggerError(EcovisionError, OSError):
    """What tells that an item came cannot be used: its pin is in use, or there is no standard input."""


class PinError(EcovisionError, OSError):
    """A pin, or the chip that it belongs to, cannot be used: not there, not allowed, or held by another."""


class LoopStuckError(EcovisionError, TimeoutError):
    """The loop did not end in the time it was given: a consumer, or the engine, does not return."""


class MissingDependencyError(EcovisionError, ImportError):
    """An optional library is not installed, or is too old."""


class DeadlyEngineError(MissingDependencyError):
    """An engine that is installed and would end the process on this CPU; it was not imported."""


class WheelsError(EcovisionError, OSError):
    """The wheels for a board cannot be collected: one is not to be had, or cannot be built or written."""


class UpdateError(EcovisionError):
    """A bundle was not updated; the one that ran before runs."""


class StoreError(UpdateError, OSError):
    """The folder of bundles cannot be changed now: full, read-only, or in use; trying later may help."""

    exit_status = 75


class FetchError(UpdateError, OSError):
    """The repository cannot be reached, is too slow, or breaks off; what came is kept, so try later."""

    exit_status = 75


class UntrustedError(UpdateError, ValueError):
    """What the repository says is not signed as it should be, is too old, or contradicts itself."""


class GateError(UpdateError, ValueError):
    """The new bundle did not prove itself on this device; it is not tried again."""


class ReleaseError(EcovisionError, ValueError):
    """Releases cannot be published as asked; what devices see has not changed."""


class SigningKeyError(EcovisionError, OSError):
    """A publisher's private key cannot be read, opened with a passphrase, or written."""


class TryLaterError(UpdateError, OSError):
    """The device cannot update now: another update is running, or memory is short; trying later may help."""

    exit_status = 75


class RestartError(UpdateError, RuntimeError):
    """What is to run now cannot take the place of what runs: the program has to start again."""

    exit_status = 75


class ExportError(EcovisionError):
    """Base of the exporter's errors."""


class CheckpointError(ExportError, ValueError):
    """The weights are not what they should be."""

    exit_status = 2


class DownloadError(ExportError, OSError):
    """The weights could not be fetched."""


class PushError(ExportError, OSError):
    """The bundle could not be pushed to a hub; it stays where it was written."""


class DatasetError(ExportError, ValueError):
    """The photographs for calibration or validation are not what they should be."""

    exit_status = 2


class StageError(ExportError, RuntimeError):
    """A stage of the export failed; the message says which, and what ran before it."""


class ParityError(ExportError, RuntimeError):
    """The exported model disagrees with PyTorch by more than its budget."""
