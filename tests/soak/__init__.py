"""Whether the sidecar is the same after thousands of requests of every kind. No test collects it.

::

    python -m tests.soak                              # ten minutes of load
    python -m tests.soak --minutes 2 --seed 7         # the requests of another run again
    python -m tests.soak idle --streams 2000          # streams that say nothing, and their memory

Run them from the top of a checkout with the ``test`` extra installed, on Linux (``/proc``).

The real command runs as a process of its own, between clients and an upstream that are one process:
so each request has a number, and its upstream and its client know from the seed what is to happen
(:mod:`.scenarios`): answers in every wire format, with hidden text in the text and beside it, cut
anywhere; the recordings of the repository; upstreams that die, reset, hang, send what is no HTTP,
no JSON, no answer or no end; clients that crawl, stop reading, or leave; requests that are refused.
Meanwhile the metrics are scraped. In the end it is asked to end while answers are under way.

Checked are:

* every answer, as a strict client reads it: a complete one is all there, one that breaks off has
  what came of it and an error, and of what is hidden nothing is in any byte;
* that clients, metrics and the access log count the same, by outcome;
* that descriptors and tasks are those of the start when the requests are over, and memory is that
  of the warm-up, within 5 %;
* that the log says nothing unexpected, and neither it nor the metrics repeat what was said;
* that the end is orderly (:mod:`.draining`).

The configuration is not reloaded.
"""
