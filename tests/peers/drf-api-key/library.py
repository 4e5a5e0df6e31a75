"""Prints the cost of a call to the library without HTTP, as one line of JSON."""

import itertools
import json
import resource
import time

import keys
from django.db import connection
from rest_framework_api_key.models import APIKey


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def measure(seconds: float, inputs: list, one) -> tuple[float, float]:
    """Calls `one` with each of `inputs` in turn. Returns the calls per second and the CPU-ms per call."""
    start, cpu, calls = time.perf_counter(), cpu_seconds(), 0
    for value in itertools.cycle(inputs):
        one(value)
        calls += 1
        if time.perf_counter() - start >= seconds:
            break
    took = time.perf_counter() - start
    return round(calls / took), round((cpu_seconds() - cpu) * 1000 / calls, 4)


def expecting(wanted: bool):
    def verify(key: str) -> None:
        if APIKey.objects.is_valid(key) != wanted:
            raise SystemExit(f"a key should verify as {wanted}")

    return verify


def statements(inputs: list[str], verify) -> float:
    count = 0

    def counting(execute, *arguments):
        nonlocal count
        count += 1
        return execute(*arguments)

    with connection.execute_wrapper(counting):
        for key in inputs:
            verify(key)
    return count / len(inputs)


samples = keys.fill()
unknown = [keys.forged() for _ in range(1000)]

# This short run warms up the code.
measure(0.3, samples["valid"], expecting(True))
measure(0.2, unknown, expecting(False))
create_per_s, create_cpu = measure(1, [None], lambda _: keys.create())
verify_per_s, verify_cpu = measure(1.5, samples["valid"], expecting(True))
forged_per_s, forged_cpu = measure(1, unknown, expecting(False))
_, expired_cpu = measure(0.7, samples["expired"], expecting(False))
_, revoked_cpu = measure(0.7, samples["revoked"], expecting(False))

line = {
    "name": keys.name,
    "create_per_s": create_per_s,
    "verify_per_s": verify_per_s,
    "forged_per_s": forged_per_s,
    "create_cpu_ms": create_cpu,
    "verify_cpu_ms": verify_cpu,
    "forged_cpu_ms": forged_cpu,
    "expired_cpu_ms": expired_cpu,
    "revoked_cpu_ms": revoked_cpu,
    "statements_per_verify": statements(samples["valid"], expecting(True)),
    "statements_per_forged": statements(samples["unknown"], expecting(False)),
    "rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
}
print(json.dumps(line))
