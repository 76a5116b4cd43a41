"""Items made in a thread of their own while those before them are used: decoding beside scoring."""

import queue
import threading
from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")


def run_ahead(items: Generator[T, None, None], depth: int) -> Generator[T, None, None]:
    """Iterate `items` in a thread of its own, at most `depth` items ahead. An exception in it is raised here.

    Closing early stops the thread at its next item; a thread that is blocked reading a pipe is left behind (daemon).
    """
    ready: queue.Queue[T | BaseException | None] = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: T | BaseException | None) -> None:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            break

    def produce() -> None:
        try:
            for item in items:
                put(item)
                if stopped.is_set():
                    break
            put(None)
        except BaseException as error:
            put(error)
        finally:
            items.close()  # closes what the generator holds open, in the thread that uses it

    thread = threading.Thread(target=produce, name="decode", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
        thread.join()
    finally:
        stopped.set()
        thread.join(timeout=1)
