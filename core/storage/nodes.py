"""The files of a store by its address, and the metadata that stands in them."""

# Ring 2: reads and writes.

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
from zarr.storage import FsspecStore, LocalStore

from ..errors import OutOfReachError, StoreError, remote_errors
from .atomic import write_whole
from .attributes import Attributes, checked
from .checksums import intact
from .chunks import WholeChunks
from .opened_arrays import METADATA, OpenedArrays

SCHEMA_VERSION = 1
"""Raised when a reader of the previous schema would misread the store."""

NOTES = "_"
"""What names of groups begin with that workers write, too: notes beside the results."""

EMPTY_GROUP = {"attributes": {}, "zarr_format": 3, "node_type": "group"}
PARTS_OF_GROUP = {"attributes", "zarr_format", "node_type", "consolidated_metadata"}


def fetched_whole(url: str) -> dict[str, Any]:
    """Options of fsspec for an address: s3fs asks for the size of a file before it fetches it, but chunks are small."""
    return {"max_concurrency": 1} if url.startswith(("s3://", "s3a://")) else {}


@dataclass(frozen=True)
class Nodes:
    """The groups and arrays at an address: a local folder or any fsspec URL."""

    url: str
    _opened: OpenedArrays = field(default_factory=OpenedArrays, init=False, repr=False, compare=False)

    @property
    def local(self) -> Path | None:
        """The folder, when the store is one on this machine."""
        return None if "://" in self.url else Path(self.url)

    def _elsewhere(self) -> tuple[Any, str]:
        """The file system of a store that is no folder, and its place there. Made once: fsspec makes one per thread."""
        if self._opened.files is None:
            self._opened.files = fsspec.url_to_fs(self.url, **fetched_whole(self.url))
        return self._opened.files

    def bytes_of(self, key: str) -> bytes | None:
        """The content of one of its files; None where there is none."""
        try:
            if self.local is not None:
                return (self.local / key).read_bytes()
            with remote_errors(self.url):
                files, root = self._elsewhere()
                return files.cat_file(f"{root}/{key}")
        except (FileNotFoundError, NotADirectoryError):
            return None

    def put(self, key: str, content: bytes) -> None:
        """Write one of its files, whole or not at all."""
        if self.local is not None:
            write_whole(self.local / key, content)
        else:
            with remote_errors(self.url):
                files, root = self._elsewhere()
                with self._opened.writing({key: content}):
                    files.pipe_file(f"{root}/{key}", content)

    def put_all(self, contents: Mapping[str, bytes], last: str) -> None:
        """Write many of the files of a store that is no folder at once, and one after all others."""
        with remote_errors(self.url):
            files, root = self._elsewhere()
            with self._opened.writing(contents):
                files.pipe({f"{root}/{key}": content for key, content in contents.items() if key != last})
                files.pipe_file(f"{root}/{last}", contents[last])

    def all_metadata(self) -> dict[str, bytes]:
        """The metadata of every node of a store that is no folder, by its key."""
        with remote_errors(self.url):
            files, root = self._elsewhere()
            files.invalidate_cache(root)
            start = len(f"{root.lstrip('/')}/")
            keys = {name.lstrip("/")[start:]: name for name in files.find(root) if name.endswith(f"/{METADATA}")}
            states = self._opened.states
            known = {key: states.of(key).get(key) for key in keys if states is not None and not key.startswith(NOTES)}
            content = {key: json.dumps(node).encode() for key, node in known.items() if node is not None}
            fetched = files.cat([name for key, name in keys.items() if key not in content])
            return content | {name.lstrip("/")[start:]: text for name, text in fetched.items()}

    def names_in(self, node: str) -> set[str]:
        """Names of the arrays and groups right below a group."""
        if self.local is not None:
            folder = self.local / node
            return {path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")}
        with remote_errors(self.url):
            files, root = self._elsewhere()
            files.invalidate_cache(f"{root}/{node}".rstrip("/"))
            found = files.ls(f"{root}/{node}".rstrip("/"), detail=True)
        return {each["name"].rstrip("/").rpartition("/")[2] for each in found if each["type"] == "directory"}

    def groups(self) -> set[str]:
        """Names of the groups that are there."""
        states = self._opened.states
        keys = {name: f"{name}/{METADATA}" for name in self.names_in("")}
        known = {key for key in keys.values() if states is not None and states.of(key).get(key)}
        return {name for name, key in keys.items() if key in known or self.bytes_of(key) is not None}

    def node(self, path: str) -> dict[str, Any] | None:
        """The metadata of a group or an array, as it stands there; None where there is none.

        Raises:
            StoreError: it is no metadata.
        """
        key = f"{path}/{METADATA}".lstrip("/")
        states = None if self.local is not None or path.startswith(NOTES) else self._opened.states
        known = None if states is None else states.of(key)
        if known is not None and key in known:
            return known[key]
        if states is not None and states.groups is not None and path and self.is_absent(path.partition("/")[0]):
            return None
        text = self.bytes_of(key)
        found = None
        if text is not None:
            with self.damage(path):
                found = json.loads(text)
                if not isinstance(found, dict) or not isinstance(found.get("attributes", {}), dict):
                    raise ValueError("its metadata is no table")
        if known is not None:
            known[key] = found
        return found

    def attrs(self, group: str = "") -> Attributes:
        """Attributes of a group, checked; empty when it does not exist.

        Raises:
            StoreError: one is not what it should be; also from what is returned, for one that is missing.
        """
        if self.local is not None or not self._opened.there:
            if not self.exists():
                return Attributes({}, self.url, group)
            self._opened.there = True
        return self._attributes(group)

    def _attributes(self, group: str) -> Attributes:
        kept = self._opened.attributes.get(group)
        if kept is None:
            kept = self._read_attributes(group)
            if self.local is None and self._opened.sent:
                self._opened.attributes[group] = kept
        return kept

    def _read_attributes(self, group: str) -> Attributes:
        node = self.node(group) or {}
        values = node.get("attributes", {})
        found = checked(values, self.url, group) if group else Attributes(values, self.url, group)
        with self.damage(group):
            if node.keys() - PARTS_OF_GROUP or not intact(group, values):
                raise ValueError("its attributes are not those that were written")
        return found

    def zarr_store(self, *, write: bool = False) -> Any:
        """The store for Zarr and xarray; what is read through it has its checksums tested."""
        if self.local is not None:
            files: Any = LocalStore(self.local, read_only=not write)
        else:
            if self._opened.zarr_files is None:
                self._opened.zarr_files = FsspecStore.from_url(self.url, fetched_whole(self.url))
            files = self._opened.zarr_files.with_read_only(not write)
        return files if write else WholeChunks(files, self.url)

    def metadata_kept(self) -> contextlib.AbstractContextManager[None]:
        """While this process is the only one that writes metadata (see `Store.lock`), it is read once where each look
        is a request."""
        return self._opened.written_here(self.names_in("")) if self.local is None else contextlib.nullcontext()

    def is_absent(self, group: str) -> bool:
        """Whether nothing at all is there of a group, in a store that is no folder."""
        states = self._opened.states
        known = None if states is None else states.groups
        return group not in (self.names_in("") if known is None else known)

    def exists(self) -> bool:
        """Whether there is a Zarr group at the address. Raises StoreError for something that is not ours."""
        self._check_address()
        try:
            root = self.node("")
        except OutOfReachError:
            raise
        except StoreError as error:
            raise StoreError(
                f"{self.url}: expected a Zarr v3 store, but its metadata cannot be read ({error.__cause__}). "
                f"`handpipe verify {self.url} --repair` writes it again, or delete the folder to compute everything."
            ) from error
        if root is None:
            if self.local is not None and self.local.exists() and any(self.local.iterdir()):
                raise StoreError(
                    f"{self.url}: expected a Zarr v3 store or nothing, but found other files there. "
                    "Move them away, or point `--store` elsewhere."
                )
            return False
        attributes = root.get("attributes", {})
        found = attributes.get("schema_version")
        if not isinstance(found, int):
            raise StoreError(
                f"{self.url}: expected a store written by handpipe (attribute schema_version), but found {found!r}. "
                "Move it away, or point `--store` elsewhere."
            )
        if found > SCHEMA_VERSION:
            raise StoreError(
                f"{self.url}: expected schema version {SCHEMA_VERSION} or older, but it was written with version "
                f"{found} by a newer handpipe ({attributes.get('handpipe_version')}). Update handpipe to read it."
            )
        return True

    def expect(self) -> None:
        """Raise StoreError where there is no store."""
        if self.bytes_of(METADATA) is None:
            raise StoreError(f"{self.url}: expected a store of results, but there is none. Check the name.")

    def _check_address(self) -> None:
        try:
            if self.local is None:
                fsspec.get_filesystem_class(self.url.split("://")[0])
            elif self.local.exists() and not self.local.is_dir():
                raise NotADirectoryError("a file stands there")
        except (NotADirectoryError, ValueError, ImportError) as error:
            raise StoreError(
                f"{self.url}: expected a folder, or an address that fsspec can open, but it is not ({error}). "
                "Point `--store` elsewhere, or install what it takes (`pip install s3fs` for s3://)."
            ) from error

    @contextlib.contextmanager
    def damage(self, group: str) -> Iterator[None]:
        """Turn metadata or chunks that cannot be read, and a broken connection, into one sentence."""
        try:
            with remote_errors(self.url):
                yield
        except StoreError:
            raise
        except (ValueError, KeyError, RuntimeError, TypeError, AssertionError, OverflowError) as error:
            raise StoreError(
                f"{self.url}: expected to read the group `{group}`, but it is damaged ({error}). "
                f"`handpipe verify {self.url} --repair` finds all such damage and computes it again."
            ) from error
