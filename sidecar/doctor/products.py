"""Which proxies are in front, as far as they say so. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Final


class Product(StrEnum):
    """A proxy that there is advice for."""

    NGINX = "nginx"
    CLOUDFLARE = "Cloudflare"
    ALB = "AWS ALB"
    ENVOY = "Envoy / Istio"
    TRAEFIK = "Traefik"
    HAPROXY = "HAProxy"


_NAMES: Final = {
    "nginx": Product.NGINX,
    "openresty": Product.NGINX,
    "cloudflare": Product.CLOUDFLARE,
    "awselb": Product.ALB,
    "envoy": Product.ENVOY,
    "traefik": Product.TRAEFIK,
    "haproxy": Product.HAPROXY,
}
"""By what stands in ``Server`` or ``Via``."""

_ANSWER: Final = {
    "cf-ray": Product.CLOUDFLARE,
    "x-envoy-upstream-service-time": Product.ENVOY,
}
"""By headers of the answer."""

_REQUEST: Final = {
    "cf-ray": Product.CLOUDFLARE,
    "x-amzn-trace-id": Product.ALB,
    "x-envoy-attempt-count": Product.ENVOY,
    "x-envoy-expected-rq-timeout-ms": Product.ENVOY,
    "x-forwarded-server": Product.TRAEFIK,
}
"""By headers with which the request reached the sidecar."""


def products(headers: Mapping[str, str], signs: Collection[str] = ()) -> tuple[Product, ...]:
    """Those that are likely in front, in no order of the way. ``headers`` are the answer's, in
    which any case finds; ``signs`` the names of the request's that the sidecar saw."""
    names = f"{headers.get('Server', '')} {headers.get('Via', '')}".lower()
    found = {product for name, product in _NAMES.items() if name in names}
    found |= {product for name, product in _ANSWER.items() if name in headers}
    found |= {product for name, product in _REQUEST.items() if name in signs}
    return tuple(product for product in Product if product in found)
