"""The private keys of agents and of those who ask them: files, as those that sign feeds."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from tideover.recipients.feed.format import FeedError
from tideover.recipients.feed.keys import public_text, signing_key

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = ["AgentKeyError", "make_key", "private_key", "public_text"]


class AgentKeyError(Exception):
    """A key file can't be read or made. The text names the file and the cure."""


def private_key(path: Path) -> "Ed25519PrivateKey":
    """The key in this file (PEM, PKCS #8). Blocks.

    Raises:
        AgentKeyError: it is not there, others can read it, or it is no such key.
    """
    try:
        path.stat()  # a key that is missing must not be made here: nobody would know it
        if not os.access(path, os.R_OK):
            text = f"{path}: its owner alone may read it: chown it to the user who is to use it"
            raise AgentKeyError(text)
        return signing_key(path)[0]
    except FeedError as error:
        raise AgentKeyError(str(error)) from None
    except FileNotFoundError:
        text = f"{path}: there is no such key; make it with: tideover agent keygen {path}"
        raise AgentKeyError(text) from None
    except OSError as error:
        raise AgentKeyError(f"{path}: {error.strerror or error}") from None


def make_key(path: Path) -> "Ed25519PrivateKey":
    """A new key in a file that was not there. Blocks.

    Raises:
        AgentKeyError: the file is there, or can't be made.
    """
    try:
        key, made = signing_key(path)
    except FeedError as error:
        raise AgentKeyError(str(error)) from None
    if not made:
        raise AgentKeyError(f"{path}: it is there already, and stays as it is")
    return key
