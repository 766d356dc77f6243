"""What a start leaves behind."""

from __future__ import annotations

import gc

from sidecar.server.app import settle_memory


def test_what_the_start_made_is_not_looked_at_again() -> None:
    """Nor is what is made later looked at every few hundred objects, as a stream makes."""
    before = gc.get_threshold()
    try:
        gc.disable()
        settle_memory()
        assert gc.get_freeze_count() > 0
        assert gc.isenabled()
        assert gc.get_threshold()[0] > before[0]
    finally:
        gc.enable()
        gc.unfreeze()
        gc.set_threshold(*before)
