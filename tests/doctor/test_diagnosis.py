"""What is said of a stream that came: nothing but what it shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from multidict import CIMultiDict

from sidecar.doctor.advice import ADVICE
from sidecar.doctor.diagnosis import Diagnosis, of_chat, of_drip
from sidecar.doctor.pace import Pace
from sidecar.doctor.products import Product, products
from sidecar.doctor.report import lines, record
from sidecar.doctor.stream import Event, Stream
from sidecar.doctor.trouble import Trouble
from sidecar.server.headers import STREAM

COUNT = 10


def stream(
    *,
    held: bool = False,
    headers: Mapping[str, str] | None = None,
    without: str = "",
    first: Mapping[str, Any] | None = None,
    idle: float = 0,
    silence: float = 0,
    **more: Any,
) -> Stream:
    """A drip of ten events that came in step, or at its end if it was ``held``."""
    values = [{"n": n + 1, "of": COUNT, "t": n / 10} for n in range(COUNT)]
    values[0] |= {"http": "1.1", "signs": []} | dict(first or {})
    events = [Event(1.0 if held else value["t"] + 0.01, value) for value in values]
    if idle:
        events.append(Event(1.0 + idle, {"idle": idle}))
    sent = CIMultiDict(STREAM, Server="sidecar", **{"Transfer-Encoding": "chunked"})
    sent.update(headers or {})
    if without:
        del sent[without]
    made = Stream("1.1", sent, tuple(events), COUNT, events[-1].at + silence, True)
    return made._replace(**more)


def troubles(diagnosis: Diagnosis) -> set[Trouble]:
    return {finding.trouble for finding in diagnosis.findings}


def test_a_way_that_does_nothing_has_no_trouble() -> None:
    diagnosis = of_drip(stream(), stream(), idle=0)
    assert diagnosis == Diagnosis(Pace.IN_STEP, Pace.IN_STEP, (), ())
    assert diagnosis.fine


CASES = [
    ({"held": True}, {"held": True}, {Trouble.COLLECTED}),
    ({}, {"held": True}, {Trouble.RELIES}),
    ({"headers": {"Content-Encoding": "gzip"}}, {}, {Trouble.COMPRESSED}),
    ({"headers": {"Content-Encoding": "identity"}}, {}, set()),
    ({"without": "X-Accel-Buffering"}, {}, {Trouble.HEADERS}),
    ({"headers": {"cache-control": "no-cache"}}, {}, {Trouble.HEADERS}),
    ({"first": {"http": "1.0"}}, {}, {Trouble.OLD_HTTP}),
    ({"version": "1.0"}, {}, {Trouble.OLD_HTTP}),
    ({"done": False}, {}, {Trouble.CUT}),
    ({"done": False, "events": ()}, {}, {Trouble.CUT}),
]


@pytest.mark.parametrize(("seen", "plain", "expected"), CASES)
def test_each_trouble_is_told_by_what_shows_it(
    seen: dict[str, Any], plain: dict[str, Any], expected: set[Trouble]
) -> None:
    diagnosis = of_drip(stream(**seen), stream(**plain), idle=0)
    assert troubles(diagnosis) == expected
    assert diagnosis.fine == (not any(trouble.is_fault for trouble in expected))


def test_a_cut_in_the_silence_is_told_from_another() -> None:
    cut = stream(done=False, silence=60.0)
    diagnosis = of_drip(cut, stream(), idle=65)
    assert troubles(diagnosis) == {Trouble.SILENCE}
    assert "60.0 s of silence, of 65" in diagnosis.findings[0].text
    assert not diagnosis.fine
    half = stream(done=False, events=stream().events[:5])
    assert troubles(of_drip(half, stream(), idle=65)) == {Trouble.CUT}
    assert of_drip(stream(idle=65), stream(), idle=65).fine


@pytest.mark.parametrize(
    "value", [{}, {"t": None}, {"t": "soon"}, {"t": []}, {"n": 1}, {"signs": 5, "http": []}]
)
def test_events_that_are_not_ours_are_no_verdict(value: dict[str, Any]) -> None:
    """A server that only has the path of the drip."""
    diagnosis = of_drip(stream(events=(Event(0.1, value),) * 5), stream(), idle=0)
    assert diagnosis.pace is None
    assert not diagnosis.fine


def test_of_a_chat_only_the_arrival_is_known() -> None:
    assert of_chat(stream()).fine
    held = of_chat(stream(held=True))
    assert (held.pace, held.plain, held.fine) == (Pace.AT_THE_END, None, False)
    assert troubles(of_chat(stream(done=False))) == {Trouble.CUT}


# --- products and advice ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "signs", "expected"),
    [
        ({"Server": "nginx/1.22.1"}, (), {Product.NGINX}),
        ({"Server": "openresty"}, (), {Product.NGINX}),
        ({"server": "cloudflare", "CF-RAY": "8f"}, (), {Product.CLOUDFLARE}),
        ({"Server": "istio-envoy"}, (), {Product.ENVOY}),
        ({"x-envoy-upstream-service-time": "1"}, (), {Product.ENVOY}),
        ({"Via": "1.1 sidecar, 1.1 haproxy"}, (), {Product.HAPROXY}),
        ({"Server": "sidecar", "Via": "1.1 sidecar"}, (), set()),
        ({}, ("x-amzn-trace-id",), {Product.ALB}),
        ({}, ("x-forwarded-server",), {Product.TRAEFIK}),
        ({"Server": "nginx"}, ("cf-ray", "via"), {Product.NGINX, Product.CLOUDFLARE}),
    ],
)
def test_products_are_known_by_what_they_write(
    headers: dict[str, str], signs: tuple[str, ...], expected: set[Product]
) -> None:
    assert set(products(CIMultiDict(headers), signs)) == expected


def test_what_holds_a_stream_has_advice_for_every_product() -> None:
    """Whoever does it need not be who shows."""
    for trouble in (Trouble.COLLECTED, Trouble.COMPRESSED):
        assert set(ADVICE[trouble]) == set(Product)


def test_who_is_recognised_is_named_first() -> None:
    held = stream(held=True, headers={"Server": "envoy"})
    diagnosis = of_drip(held, held, idle=0)
    told = [advice["product"] for advice in record("u", held, diagnosis)["advice"]]
    assert told[0] == Product.ENVOY
    assert set(told) == set(Product)


def test_where_nothing_is_broken_only_who_is_recognised_is_named() -> None:
    gzip = stream(headers={"Content-Encoding": "gzip", "Server": "nginx"})
    told = [a["product"] for a in record("u", gzip, of_drip(gzip, gzip, idle=0))["advice"]]
    assert told == [Product.NGINX]


def test_nothing_that_came_can_steer_the_terminal() -> None:
    evil = "\x1b]0;owned\x07\x9b31m\u202e"
    seen = stream(
        held=True,
        headers=dict.fromkeys(("Server", "Via", "Content-Encoding", "Cache-Control"), evil),
    )
    said = "\n".join(lines(f"http://h/{evil}", seen, of_drip(seen, seen, idle=0)))
    assert not set(evil) & set(said) - set("]0;owned31m")
