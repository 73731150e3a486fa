"""Lines that `cargo xtask` counts: `ok`, `FAILED` and `skipped`, each with a name."""

import sys
import traceback

failed = False


def judge(check, *args):
    """Runs a function that raises if something is wrong."""
    global failed
    try:
        check(*args)
    except Exception as error:  # noqa: BLE001, whatever is wrong is told
        failed = True
        line = traceback.extract_tb(error.__traceback__)[-1]
        print(f"FAILED {check.__name__}: {type(error).__name__} {error} ({line.filename.rsplit('/', 1)[-1]}:{line.lineno})")
    else:
        print(f"ok {check.__name__}")


def skipped(check, why):
    print(f"skipped {check.__name__}: {why}")


def end():
    sys.exit(failed)
