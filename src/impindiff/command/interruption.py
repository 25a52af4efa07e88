"""Ctrl-C and SIGTERM: a command ends between training steps, and at once on a second signal."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SAVING = "interrupted: this step is ended and the training state saved; once more ends it at once"


class Watch:
    """State of a command with respect to signals.

    - `asked`: the signal that requested an end; None if there was none.
    - `farewell`: called before the process ends at once; its result is printed.
    """

    def __init__(self) -> None:
        self.asked: int | None = None
        self.farewell: Callable[[], str] = lambda: "interrupted"
        self._unsaved = False

    def stepped(self, *, saved: bool = False) -> None:
        """Note that a training step is done; an unsaved one is saved before the end.

        **Raises:** `KeyboardInterrupt` if a signal has requested it.
        """
        self._unsaved = not saved
        if self.asked is not None:
            raise KeyboardInterrupt

    @property
    def code(self) -> int:
        """The exit code of a process ended by a signal, 130 for Ctrl-C."""
        return 128 + (signal.SIGINT if self.asked is None else self.asked)

    def _told(self, number: int, say: Callable[[str], None]) -> None:
        """React to a signal in a separate thread: the main one may be inside XLA for minutes."""
        if self.asked is None and self._unsaved:
            self.asked = number
            say(_SAVING)
            return
        self.asked = number
        with contextlib.suppress(Exception):
            say(self.farewell())
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        # not by an exception, which a compilation swallows or turns into a segmentation fault
        os._exit(self.code)


@contextmanager
def watched(say: Callable[[str], None]) -> Iterator[Watch]:
    """Handle Ctrl-C and SIGTERM until the block ends.

    A signal ends the process at once if no training is unsaved (see `Watch`), as in the middle of a
    compilation, else between two training steps; a second one ends it at once. Outside of the main
    thread signals are not handled, as required by Python.

    - `say`: receives progress messages.
    """
    watch = Watch()
    if threading.current_thread() is not threading.main_thread():
        yield watch
        return
    listen, tell = os.pipe()
    os.set_blocking(tell, False)

    def loop() -> None:
        while (told := os.read(listen, 1)) not in (b"", b"\0"):
            watch._told(told[0], say)

    # a process started with signals ignored, as in a script's background, keeps ignoring them
    heard = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    handlers = {number: signal.signal(number, lambda *_: None) for number in heard}
    before = signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    thread = threading.Thread(target=loop, daemon=True, name="signals")
    thread.start()
    try:
        yield watch
    finally:
        signal.set_wakeup_fd(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.write(tell, b"\0")
        thread.join()
        os.close(listen)
        os.close(tell)


@contextmanager
def termination_raises() -> Iterator[None]:
    """Make SIGTERM raise `SystemExit`, so that child processes are ended too."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python handles signals in the main thread only
        return

    def raise_exit(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, raise_exit)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
