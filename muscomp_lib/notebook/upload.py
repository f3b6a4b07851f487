"""A button that brings a file from the browser's machine to Python's. Used by the stage of notebook 05.

ipywidgets has such a button, but it sends a file in one message: Jupyter's servers close the connection above some
10 MB without saying so, and a song as WAV is four times that. It also differs between ipywidgets 7 and 8. This one is
an anywidget, the same with both, and sends pieces (`static/upload.js`).
"""

from pathlib import Path

SCRIPT = Path(__file__).with_name("static") / "upload.js"


def button(label, accept, arriving):
    """Make the button.

    Parameters
    ----------
    label : str
    accept : str
        Which files the browser offers, such as "audio/*".
    arriving : callable
        `arriving(name, share, content)` is called with each piece: the file's name, how much of it is there (0 to 1),
        and, with the last, the whole (bytearray), before that None. What it raises ends the upload.

    Returns
    -------
    anywidget.AnyWidget
        With the trait `disabled`.
    """
    import anywidget
    from traitlets import Bool, Unicode

    class Upload(anywidget.AnyWidget):
        _esm = SCRIPT.read_text("utf-8")
        label = Unicode().tag(sync=True)
        accept = Unicode().tag(sync=True)
        disabled = Bool(False).tag(sync=True)

    content = bytearray()

    def take(widget, piece, buffers):
        if piece["at"] == 0:
            content.clear()
        content.extend(buffers[0])
        whole = len(content) >= piece["size"]
        share = len(content) / piece["size"] if piece["size"] else 1.0
        arriving(piece["name"], share, bytearray(content) if whole else None)
        widget.send({"next": None if whole else len(content)})

    made = Upload(label=label, accept=accept)
    made.on_msg(take)
    return made
