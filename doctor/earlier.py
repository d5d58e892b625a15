"""What earlier runs left in a session's store: which stages are done, and what they said."""

# Ring 2: reads and writes.

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..core.errors import StoreError
from ..core.quality import Check, from_attributes
from ..core.storage.store import Store
from .findings import fine, told, worse

GROUPS = {"cameras": "calibrate", "detections": "detect", "keypoints": "triangulate", "mano": "fit"}
"""The last group of each stage."""


def earlier_checks(store: Store) -> Iterator[Check]:
    """Findings of the stages that have run; none where there is no store."""
    try:
        if not store.exists():
            return
        done = [stage for group, stage in GROUPS.items() if store.complete(group)]
        yield fine("earlier results", f"{store.url}: {', '.join(done) or 'no stage'} complete", float(len(done)))
        if store.complete("cameras"):
            yield from worse("earlier calibration", store.attrs("cameras").get("warnings", []))
        if store.complete("quality"):
            for check in from_attributes(store.attrs("quality")):
                if check.severity != "ok":
                    yield replace(check, name=f"earlier result: {check.name}")
    except StoreError as error:
        yield told("earlier results", "error", str(error))
