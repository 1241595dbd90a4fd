"""What must not lie readable in the database or a backup of it: tokens of hubs, encrypted with a key in a file.

`secret.key` is made by the first start, after the database, for its owner alone to read. Whoever has the key and the
database can read the tokens; whoever has one of them cannot.
"""

import os
import secrets
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from postil.errors import CannotWriteError, UnavailableError
from postil.operating_system import os_reason

SECRET_KEY = "secret.key"


def make_secret_key(data_dir: Path) -> None:
    """Makes the key where there is none; of two who start at once one makes it.

    Raises:
        CannotWriteError: the data folder cannot be written.
    """
    place = data_dir / SECRET_KEY
    if place.exists():
        return
    beside = place.with_name(f".{SECRET_KEY}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(Fernet.generate_key() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(beside, place)  # unlike a rename, it never takes the place of another's
    except FileExistsError:
        return
    except OSError as error:
        raise CannotWriteError("platform.data_dir", path=data_dir, reason=os_reason(error)) from error
    finally:
        beside.unlink(missing_ok=True)


def encrypt(data_dir: Path, text: str) -> str:
    """A secret as it may lie in the database.

    Raises:
        UnavailableError: the key is not there.
    """
    return _fernet(data_dir).encrypt(text.encode()).decode()


def decrypt(data_dir: Path, kept: str) -> str:
    """What `encrypt` was given.

    Raises:
        UnavailableError: the key is not there, or is another one.
    """
    try:
        return _fernet(data_dir).decrypt(kept.encode()).decode()
    except InvalidToken:
        raise UnavailableError("platform.secrets.other_key", path=data_dir / SECRET_KEY) from None


def _fernet(data_dir: Path) -> Fernet:
    try:
        return Fernet((data_dir / SECRET_KEY).read_bytes().strip())
    except (OSError, ValueError):
        raise UnavailableError("platform.secrets.no_key", path=data_dir / SECRET_KEY) from None
