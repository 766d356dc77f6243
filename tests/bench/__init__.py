"""What the sidecar costs, beside a bare pass-through and nginx. A time says nothing about being
right, so no test is made of one.

::

    python -m tests.bench                          # all workloads; on a quiet machine, half an hour
    python -m tests.bench --only flood --only big  # those
    python -m tests.bench --short                  # two minutes: that it runs, and rough ratios
    python -m tests.bench --json FILE --plot FILE.svg
    python -m tests.bench engine                   # in process, no sockets
    python -m tests.bench catalogue                # all families of `all`, and only `<think>`
    python -m tests.bench silence                  # how long until a person sees anything

Run them from the top of a checkout with the ``test`` extra installed, on Linux with two cores and
nothing else to do.

A workload (:mod:`.workloads`) is an answer, a number of streams, and how upstream sends them. Its
targets (:mod:`.targets`) are processes of their own on the first core: the real command, with
several rules; :mod:`.passthrough`, the least that an aiohttp proxy can do; nginx, if it is
installed. The upstream and all clients (:mod:`.load`) are one process on the second core, so that
the time of an event is known without a word in it; "no proxy" is what they do by themselves. Each
target has a round in turn: absolute figures move with the machine, the ratios of a round much less.
The text and the end of every stream are checked, and where nothing is hidden each byte, so that a
fast proxy is also one that works. Exit code 1 means that something did not: never a time.

In ``lockstep`` each stream has one event in flight (upstream sends the next one once the client has
the last), so that every event is a wake-up, a read and a write of its own: what a slow model does
to a proxy. Where upstream floods, several events share a read.

``engine`` gives the microseconds of processor time that the filter takes for one event which comes
alone in its read, under the built-in policy, beside what merely reading the event's JSON takes.
The median is what to compare; the minimum is what the code costs when nothing disturbs it.
"""
