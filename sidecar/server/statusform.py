"""How the statuses of one answer are written, by the rule and by the request."""

from __future__ import annotations

from aiohttp import web

from sidecar.core.status import Form, StatusPolicy
from sidecar.server.replies import Refusal
from sidecar.wire.formats import WireFormat

HEADER = "X-Sidecar-Status"
"""With which a request chooses, and an answer says what it was given."""


def form_of(request: web.BaseRequest, policy: StatusPolicy, wire_format: WireFormat) -> Form:
    """The form: what the request chooses if it may, or what the rule says; what the wire format
    cannot have is its own. ``off`` may always be chosen.

    Raises Refusal if the request may choose, and chooses something that does not exist.
    """
    wish = policy.form
    said = request.headers.get(HEADER, "").strip().lower()
    if said == Form.OFF:
        return Form.OFF
    if said and policy.choose:
        if said not in list(Form):
            forms = ", ".join(Form)
            raise Refusal(400, "bad_request", f"{HEADER} must be one of: {forms}.")
        wish = Form(said)
    if wish is Form.OFF or wish in wire_format.forms:
        return wish
    return wire_format.forms[0]


def may_begin_early(request: web.BaseRequest, *, allows_origins: bool) -> bool:
    """Whether an answer may begin before upstream's: not where a browser asks for another origin's
    answer, which only upstream can allow (Fetch Standard, "CORS protocol") unless the sidecar does
    (``allows_origins``), and not where a client wants no statuses, and so may want its own
    retries."""
    if request.headers.get(HEADER, "").strip().lower() == Form.OFF:
        return False
    if allows_origins:
        return True
    crosses = request.headers.get("Sec-Fetch-Site", "none").strip().lower()
    return crosses in ("none", "same-origin")
