"""What to change, for each product and each trouble. A table, and nothing else.

Every setting is one of the product's own documentation, and its default is said where it is the
cause: what a product does not do by itself, it was told to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sidecar.doctor.products import Product
from sidecar.doctor.trouble import Trouble

_N, _C, _A = Product.NGINX, Product.CLOUDFLARE, Product.ALB
_E, _T, _H = Product.ENVOY, Product.TRAEFIK, Product.HAPROXY

ADVICE: Final[Mapping[Trouble, Mapping[Product, str]]] = {
    Trouble.COLLECTED: {
        _N: "proxy_buffering off; in the location, of every nginx on the way. An inner one takes"
        " X-Accel-Buffering for itself; proxy_pass_header X-Accel-Buffering; there hands it on."
        " proxy_ignore_headers must not name it.",
        _C: "Response Buffering (a setting of the zone, Enterprise only) must be off, as it is by"
        " default.",
        _A: "It collects nothing, unless the target is a Lambda function; look at what is behind.",
        _E: "No filter may collect the response: ext_proc with response_body_mode STREAMED instead"
        " of BUFFERED, no text/event-stream in the compressor's content_type; in Istio, look into"
        " EnvoyFilter and WasmPlugin.",
        _T: "Take the middleware buffering from the router; in compress:"
        " excludedContentTypes: [text/event-stream].",
        _H: "option http-no-delay in the backend, and no http-response wait-for-body.",
    },
    Trouble.RELIES: {
        _N: "proxy_buffering off; in the location: then it does not depend on a header.",
    },
    Trouble.COMPRESSED: {
        _N: "Take text/event-stream (or *) out of gzip_types, or gzip off; in the location.",
        _C: "It leaves alone what says Cache-Control: no-transform: see who takes that away. A"
        " Compression Rule can disable it for text/event-stream.",
        _A: "It does not compress; look at what is before and behind.",
        _E: "Take text/event-stream out of the compressor's content_type; it leaves alone what says"
        " Cache-Control: no-transform.",
        _T: "In the middleware compress: excludedContentTypes: [text/event-stream].",
        _H: "Take text/event-stream out of compression type.",
    },
    Trouble.SILENCE: {
        _N: "proxy_read_timeout 300s; in the location (60 s by default).",
        _C: "Proxy Read Timeout is 100 s by default, and can be changed only in Enterprise.",
        _A: "The attribute idle_timeout.timeout_seconds of the load balancer (60 by default).",
        _E: "stream_idle_timeout of the connection manager (5 minutes by default), or idle_timeout"
        " of the route.",
        _H: "timeout server and timeout client.",
    },
    Trouble.CUT: {
        _N: "proxy_read_timeout and send_timeout, of every nginx on the way.",
        _A: "The attribute idle_timeout.timeout_seconds of the load balancer (60 by default).",
        _E: "timeout: 0s in the route (15 s by default, for the whole answer); in Istio, timeout of"
        " the VirtualService.",
        _T: "respondingTimeouts.writeTimeout of the entry point: 0, as it is by default.",
        _H: "timeout server and timeout client.",
    },
    Trouble.OLD_HTTP: {
        _N: 'proxy_http_version 1.1; and proxy_set_header Connection ""; in the location.',
    },
}
