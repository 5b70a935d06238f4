"""Files in a folder or an object store (S3, Azure, Google), all through obstore; whole or not at all, and verified."""

import contextlib
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import LocalStore, from_url

from spaceeye_stac.errors import PublishError, TargetError
from spaceeye_stac.publishing.digests import SHA256, content_digest
from spaceeye_stac.publishing.run_folder import media_type_of
from spaceeye_stac.publishing.targets import Target, without_secrets

if TYPE_CHECKING:
    from obstore.store import ObjectStore


T = TypeVar("T")
RETRIES = 10
WRITE_TRIES = 2
PART_BYTES = 8 * 2**20
DELETE_AT_ONCE = 1000
METADATA_HOSTS = ("169.254.169.254", "metadata.google.internal")  # of clouds, which give credentials to their machines
FAILURES = (BaseError, OSError, NotImplementedError, ValueError)


@dataclass(frozen=True)
class Store:
    """What lies under one prefix of a store, or in one folder; names are relative to it, with slashes.

    Requests are tried again by obstore (10 times within 3 minutes) where that may help. Raises TargetError where the
    credentials or the address are wrong, PublishError for any other failure.
    """

    target: Target

    def __reduce__(self) -> tuple[type["Store"], tuple[Target]]:
        """Another process opens it anew, with the credentials of its own environment."""
        return Store, (self.target,)

    @cached_property
    def _store(self) -> "ObjectStore":
        return self._try("opened", self._open)

    def _open(self) -> "ObjectStore":
        if self.target.kind == "folder":
            return LocalStore(Path(self.target.address).resolve(), mkdir=True)
        return from_url(self.target.address, retry_config={"max_retries": RETRIES})

    def _try(self, done: str, action: Callable[[], T]) -> T:
        address = self.target.address
        try:
            return action()
        except (UnauthenticatedError, PermissionDeniedError, PermissionError):  # what it says may repeat the request
            raise TargetError(f"{address} refuses access; check {self._access}.") from None
        except FileNotFoundError:
            raise
        except FAILURES as error:
            text = _short(error)
            if any(host in text for host in METADATA_HOSTS):  # which the library asks last
                raise TargetError(f"{address} cannot be used without credentials; check {self._access}.") from None
            if any(word in text for word in ("NoSuchBucket", "must be specified", "Missing", "not found")):
                raise TargetError(f"{address} cannot be used: {text}; check {self._access}.") from None
            raise PublishError(f"{address} cannot be {done}: {text}.") from None

    @property
    def _access(self) -> str:
        if self.target.kind == "folder":
            return "the folder's permissions"
        return "the address, and the credentials in the environment"

    def entries(self) -> set[str]:
        """Names directly under the prefix: of files, and of folders that hold any."""
        found = self._try("listed", lambda: obstore.list_with_delimiter(self._store))
        return {path.rstrip("/") for path in found["common_prefixes"]} | {meta["path"] for meta in found["objects"]}

    def sizes(self, prefix: str | None = None) -> dict[str, int]:
        """Size in bytes of every file, or of those in one folder."""

        def all_of() -> dict[str, int]:
            return {meta["path"]: meta["size"] for page in obstore.list(self._store, prefix) for meta in page}

        return self._try("listed", all_of)

    def read(self, name: str) -> bytes | None:
        """The bytes of a file, or None where there is none."""
        try:
            return bytes(self._try("read", lambda: obstore.get(self._store, name).bytes()))
        except FileNotFoundError:
            return None

    def checksum(self, name: str) -> str | None:
        """Multihash (sha2-256) of a stored file, read back in parts; None where there is none."""

        def hashed() -> str:
            found = hashlib.sha256()
            for part in obstore.get(self._store, name).stream(min_chunk_size=PART_BYTES):
                found.update(memoryview(part))
            return f"{SHA256}{found.hexdigest()}"

        try:
            return self._try("read back", hashed)
        except FileNotFoundError:
            return None

    def size(self, name: str) -> int | None:
        """Size in bytes of one file, asked for by its name; None where there is none."""
        try:
            return int(self._try("asked", lambda: obstore.head(self._store, name)["size"]))
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes | Path, checksum: str | None = None) -> None:
        """Store a file under its name, in parts where it is large; appears whole or not at all.

        It is read back and compared with its `checksum` (multihash; else that of the content), and sent again once
        where they differ. PublishError where they still do, and nothing is left.
        """
        wanted, kind = checksum or content_digest(content), self._kind(name)
        for _ in range(WRITE_TRIES):
            self._try("written", lambda: obstore.put(self._store, name, content, chunk_size=PART_BYTES, **kind))
            if self.checksum(name) == wanted:
                return
        with contextlib.suppress(PublishError):
            self.delete([name])
        raise PublishError(
            f"{self.target.address}/{name} does not read back as it was sent, {WRITE_TRIES} times; the store lost or "
            "changed it."
        )

    def put(self, name: str, content: bytes | Path) -> None:
        """Store a file under its name, whole or not at all, without reading it back."""
        kind = self._kind(name)
        self._try("written", lambda: obstore.put(self._store, name, content, chunk_size=PART_BYTES, **kind))

    def copy(self, name: str, to: str) -> None:
        """Give a file another name, too; it does not leave the store."""
        self._try("copied", lambda: obstore.copy(self._store, name, to))

    def claim(self, name: str, content: bytes, version: str | None = None) -> str | None:
        """Store a file if there is none, or if it is of that `version` still; gives its new version, None if not."""
        how: Any = "create" if version is None else {"e_tag": version}
        try:
            return self._try("written", lambda: obstore.put(self._store, name, content, mode=how)["e_tag"])
        except PublishError as error:
            if isinstance(error.__context__, (AlreadyExistsError, PreconditionError)):
                return None
            raise

    def stamp(self, name: str) -> tuple[str | None, float] | None:
        """The version of a file, and when it was stored by the store's clock, in seconds; None where there is none."""
        try:
            found = self._try("asked", lambda: obstore.head(self._store, name))
        except FileNotFoundError:
            return None
        return found["e_tag"], found["last_modified"].timestamp()

    def _kind(self, name: str) -> dict[str, Any]:
        if self.target.kind != "store":  # folders keep no content types
            return {}
        found = media_type_of(name)
        return {"attributes": {"Content-Type": found}} if found else {}

    def delete(self, names: Iterable[str]) -> None:
        """Remove files, and in a folder the folders that held them where nothing else is left in them."""
        todo = sorted(names)
        if self.target.kind == "folder":
            todo = [name for name in todo if (Path(self.target.address) / name).is_file()]
        for start in range(0, len(todo), DELETE_AT_ONCE):
            part = todo[start : start + DELETE_AT_ONCE]
            self._try("cleared", lambda part=part: obstore.delete(self._store, part))  # type: ignore[misc]
        if self.target.kind == "folder":
            self._remove_empty({Path(name).parent for name in todo})

    def _remove_empty(self, folders: set[Path]) -> None:
        root = Path(self.target.address)
        for folder in folders - {Path()}:
            if (root / folder).is_dir() and not any((root / folder).iterdir()):
                (root / folder).rmdir()


def _short(error: Exception) -> str:
    """The first paragraph of what obstore says; the rest repeats it, with headers."""
    return without_secrets(str(error).split("\n\nDebug source")[0])
