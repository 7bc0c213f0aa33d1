"""What do the two Python scripts share? A list of named checks that stops at the first one that fails."""

import math
import sys
import time

SKY = "why is the sky blue?"
GRASS = "why is the grass green?"
SKY_TOKENS = 8
SIZE = 384
# The start of the vector that Ollama's own tests expect. They allow a cosine of 0.99 and come from F16 weights.
SKY_START = [0.010071031, -0.0017594865, 0.050072223, 0.046929732, 0.05491682]
# The ids of SKY without [CLS] and [SEP].
SKY_IDS = [2339, 2003, 1996, 3712, 2630, 1029]

checks = []


def check(function):
    """Adds `function(client, model)` to the checks of this script."""
    checks.append(function)
    return function


def run(client, model):
    """Runs every check in the order in which it is written."""
    for function in checks:
        try:
            function(client, model)
        except Exception as error:
            print(f"FAILED {function.__name__}: {type(error).__name__}: {error}", file=sys.stderr)
            sys.exit(1)
        print(f"ok {function.__name__}", flush=True)


def same(got, want):
    if got != want:
        raise AssertionError(f"got {got!r}, want {want!r}")


def holds(condition, what):
    if not condition:
        raise AssertionError(what)


def unit(vector, size=SIZE):
    same(len(vector), size)
    length = math.sqrt(sum(x * x for x in vector))
    holds(abs(length - 1) < 1e-5, f"the length of the vector is {length}")


def near(got, want, tolerance):
    same(len(got), len(want))
    difference = max(abs(x - y) for x, y in zip(got, want))
    holds(difference <= tolerance, f"largest difference {difference}, allowed {tolerance}")


def is_sky(vector):
    unit(vector)
    near(vector[: len(SKY_START)], SKY_START, 1e-3)


def refused(kind, call):
    """Returns the error of class `kind` that `call` must raise."""
    try:
        answer = call()
    except kind as error:
        return error
    raise AssertionError(f"no error, but {answer!r}")


def soon(condition, what):
    """Waits until `condition()` holds, for what the daemon does just after it has answered."""
    for _ in range(200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(f"not within 10 s: {what}")
