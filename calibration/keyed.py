"""Serial numbers as they may be published: keyed hashes whose key stays with the laboratory.

A bare hash of a serial number is guessed in minutes: there are few serial numbers. HMAC-SHA256
(RFC 2104) with a secret key is not, and still says of two documents of one laboratory whether the
same unit stands in both.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path
from typing import Final

from .errors import InputError

__all__ = ["KEY_VARIABLE", "key_path", "keyed_hash", "lab_key"]

KEY_VARIABLE: Final = "WATTCAL_KEY_FILE"
"""The environment variable that names the file of the laboratory's key."""
_KEY_BYTES: Final = 32


def keyed_hash(text: str, key: bytes) -> str:
    """Return `hmac-sha256:` and the HMAC-SHA256 of a serial number or unit id under a key."""
    return f"hmac-sha256:{hmac.new(key, text.encode(), hashlib.sha256).hexdigest()}"


def key_path() -> Path:
    """Return where the key lies: where WATTCAL_KEY_FILE says, else in ~/.config/wattcal/key."""
    named = os.environ.get(KEY_VARIABLE)
    return Path(named) if named else Path.home() / ".config" / "wattcal" / "key"


def lab_key(path: Path | None = None) -> bytes:
    """Return the laboratory's key, 32 random bytes in hexadecimal; made the first time it is asked.

    It lies in `path`, else where WATTCAL_KEY_FILE says, else in ~/.config/wattcal/key, readable by
    its owner only. Who loses it can no longer show that two documents mean the same unit.

    Raises:
        InputError: the file cannot be read or made, or holds no key.

    """
    path = path or key_path()
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(secrets.token_hex(_KEY_BYTES) + "\n")
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError) as error:
        raise InputError(
            f"Expected the laboratory's key in {path}, {2 * _KEY_BYTES} hexadecimal digits; it "
            f"cannot be had: {error}. Name another file in {KEY_VARIABLE}."
        ) from None
    if len(key) < _KEY_BYTES:
        raise InputError(
            f"Expected at least {2 * _KEY_BYTES} hexadecimal digits in {path}; got {2 * len(key)}."
        )
    return key
