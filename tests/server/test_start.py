"""What becomes of the start once it is over."""

from __future__ import annotations

import gc

from sidecar.server.app import settle_memory


def test_what_was_made_to_serve_is_not_looked_at_again() -> None:
    gc.disable()
    try:
        settle_memory()
        assert gc.get_freeze_count() > 0
        assert gc.isenabled()
    finally:
        gc.unfreeze()
        gc.enable()
