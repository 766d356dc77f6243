"""What the sidecar costs. Not collected as tests: a time says nothing about being right.

::

    python -m tests.bench engine                     # in process, no sockets
    python -m tests.bench overhead                   # real processes and sockets; Linux, two cores
    python -m tests.bench overhead --max-ratio 1.6   # exit code 1 if it costs more than that
    python -m tests.bench overhead --mode burst      # the upstream sends as fast as it can
    python -m tests.bench silence                    # how long until a person sees anything

Run them from the top of a checkout with the ``test`` extra installed, on an idle machine.

``engine`` gives the microseconds of processor time that the filter takes for one event which comes
alone in its read, under the built-in policy, beside what merely reading the event's JSON takes.
The median is what to compare; the minimum is what the code costs when nothing disturbs it.

``overhead`` starts two proxies on the first core, the real command and :mod:`.passthrough`, which
is the least that an aiohttp proxy can do; an upstream and 64 clients run on the second core. The
proxies are measured by turns in pairs of rounds, and the ratio is the median of the pairs:
absolute figures move with the machine, ratios much less. Processor time is that of the proxy's
process, user and system together. In ``lockstep`` each stream has one event in flight (the
upstream sends the next one once the client has the last), so that every event is a wake-up, a read
and a write of its own: what a slow model does to a proxy. In ``burst`` many events share a read.
Every stream's text and end are checked, so that a fast proxy is also one that works.
"""
