"""Ctrl-C and SIGTERM: they end a command between training steps, and a second one at once."""

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
    """What a signal finds, and what there is to do about it.

    - `asked`: the number of the signal that has asked for an end; None: none has.
    - `farewell`: called before the process ends at once; what it returns is printed.
    """

    def __init__(self) -> None:
        self.asked: int | None = None
        self.farewell: Callable[[], str] = lambda: "interrupted"
        self._unsaved = False

    def stepped(self, *, saved: bool = False) -> None:
        """Note that a training step is done; one that is not saved yet is, before the end.

        Raises `KeyboardInterrupt` if a signal has asked for it.
        """
        self._unsaved = not saved
        if self.asked is not None:
            raise KeyboardInterrupt

    @property
    def code(self) -> int:
        """The exit code of a process that a signal has ended, 130 for Ctrl-C."""
        return 128 + (signal.SIGINT if self.asked is None else self.asked)

    def _told(self, number: int, say: Callable[[str], None]) -> None:
        """In the thread that listens: the main one may be inside of XLA for minutes."""
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
    """Listen to Ctrl-C and SIGTERM until the block ends.

    A signal ends the process at once if nothing trained is unsaved (see `Watch`), as in the middle
    of a compilation, else between two training steps; a second one ends it at once. Outside of
    the main thread nothing is listened to, for Python leaves signals to that.

    - `say`: told a line of what is being done.
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

    # a process started with signals ignored, as in the background of a script, ignores them
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
    """SIGTERM ends this process by `SystemExit`: without, those it started would go on."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python leaves signals to the main thread
        return

    def raise_exit(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, raise_exit)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
