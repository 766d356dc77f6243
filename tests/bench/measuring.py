"""What a round costs: processor time and memory of a proxy's processes, and the times of events."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.checks import WrongAnswer, check_document, check_stream, check_untouched
from tests.bench.load import Job, Load, Stream
from tests.bench.processes import Proxy
from tests.bench.results import Memory, Round, percentile
from tests.bench.targets import Target
from tests.bench.workloads import Way, sent

STALL_SECONDS = 20.0

_RESET_PEAK = "5"
"""What proc(5) has /proc/PID/clear_refs forget the peak for."""


def processor_seconds(pid: int) -> float:
    """User and system time of all threads that a process has had, to the nanosecond."""
    # The clock of clock_getcpuclockid(3); Linux makes its number of the process's.
    return time.clock_gettime((~pid << 3) | 2)


def memory(proxy: Proxy) -> Memory:
    """What a proxy has now, all its processes together."""
    resident = peak = 0
    for pid in proxy.pids:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in ("VmRSS", "VmHWM"):
                size = int(value.split()[0]) * 1024
                resident += size if name == "VmRSS" else 0
                peak += size if name == "VmHWM" else 0
    return Memory(resident, peak)


def reset_peak(proxy: Proxy) -> None:
    """Let the peak of its memory be what it has now, where the system lets us."""
    for pid in proxy.pids:
        try:
            Path(f"/proc/{pid}/clear_refs").write_text(_RESET_PEAK)
        except OSError:
            return


async def measured(load: Load, job: Job, target: Target, proxy: Proxy) -> Round:
    """One round, and what it cost. Raises WrongAnswer if a stream did not come out right,
    TimeoutError if it does not go on."""
    reset_peak(proxy)
    with _undisturbed():
        used = [processor_seconds(pid) for pid in proxy.pids]
        started = time.perf_counter()
        streams = await load.run(job, proxy.port, STALL_SECONDS)
        elapsed = time.perf_counter() - started
        used = [
            processor_seconds(pid) - before for pid, before in zip(proxy.pids, used, strict=True)
        ]
    peak = memory(proxy).peak
    _check(streams, job, target)
    firsts = [stream.first - stream.asked for stream in streams]
    delays = [delay for stream in streams for delay in _delays(stream)]
    return Round(
        events=len(streams) * len(job.answer.events),
        streams=len(streams),
        seconds=elapsed,
        cpu=sum(used),
        busiest=max(used),
        peak=peak,
        first_p50=percentile(firsts, 50),
        first_p99=percentile(firsts, 99),
        delay_p50=percentile(delays, 50),
        delay_p99=percentile(delays, 99),
    )


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Without garbage collection on this side."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _delays(stream: Stream) -> Iterator[float]:
    """From upstream to the client, of all events but the first, which waits for the head."""
    times = zip(stream.sent[1:], stream.arrived[1:], strict=False)
    return (arrived - sent_ for sent_, arrived in times)


def _check(streams: list[Stream], job: Job, target: Target) -> None:
    workload, answer = job.workload, job.answer
    whole = sent(workload, answer)
    for stream in streams:
        body = stream.response.body
        if not target.filters:
            check_untouched(body, whole)
        elif workload.way is Way.DOCUMENT:
            check_document(body, answer)
        else:
            check_stream(body, answer)
        if workload.timed and len(stream.arrived) != len(stream.sent):
            raise WrongAnswer(f"{len(stream.arrived)} events instead of {len(stream.sent)}")
