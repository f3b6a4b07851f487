"""The website's page from a notebook, in a window of its own. Used by notebook 05.

The site runs in a thread of the kernel and ends with it. It is for whoever runs the notebook: Colab's addresses are
open to the owner of the notebook only, and its rules allow no other.
"""

import atexit
import functools
import queue
import shutil
import tempfile
import threading

from muscomp_lib.core.errors import MusCompError
from muscomp_lib.website import site
from muscomp_lib.website.settings import Settings


def open_page(root):
    """Open the page; the site is started at the first call.

    Parameters
    ----------
    root : core.root.Root
        With one's own models.

    Returns
    -------
    str
        Its address on the machine of the kernel.
    """
    address = _started(root)
    try:
        from google.colab import output
    except ImportError:
        print(f"The page is at {address}, on the machine that this notebook runs on.")
    else:
        output.serve_kernel_port_as_window(int(address.rstrip("/").rpartition(":")[2]))
    return address


@functools.cache
def _started(root):
    """The address of this kernel's site. Its songs are kept until the kernel ends."""
    folder, answers = tempfile.mkdtemp(prefix="muscomp-site-"), queue.SimpleQueue()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    settings = Settings(port=0, hosts="*", folder=folder)  # Colab's proxy has names of its own

    def run():
        try:
            site.serve(settings, root, answers.put)
        except BaseException as error:  # or whoever waits for the address would wait for ever
            answers.put(error)
            if not isinstance(error, MusCompError):
                raise

    threading.Thread(target=run, daemon=True).start()
    answer = answers.get()
    if isinstance(answer, BaseException):
        raise answer
    return answer
