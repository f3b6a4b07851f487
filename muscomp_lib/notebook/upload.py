"""A button that uploads a file from the browser. Used by the app of notebook 05.

ipywidgets has such a button, but it sends a file in one message: Jupyter's servers silently close the connection above
about 10 MB, and a song as WAV is four times that. It also differs between ipywidgets 7 and 8. This one is an anywidget,
the same with both, and sends chunks (`static/upload.js`).
"""

from pathlib import Path

SCRIPT = Path(__file__).with_name("static") / "upload.js"


def button(label, accept, on_chunk):
    """Make the button.

    Parameters
    ----------
    label : str
    accept : str
        Which files the browser offers, such as "audio/*".
    on_chunk : callable
        `on_chunk(name, progress, content)` is called with each chunk: the file's name, the share that has arrived (0 to
        1), and, with the last, the whole content (bytearray), before that None. An exception ends the upload.

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

    content, sending = bytearray(), {}

    def receive(widget, chunk, buffers):
        if chunk["at"] == 0:
            content.clear()
            sending.update(chunk)
        if {**sending, "at": len(content)} != chunk:
            return  # a chunk of another file: the same button, shown a second time, was sending that
        content.extend(buffers[0])
        complete = len(content) >= chunk["size"]
        progress = len(content) / chunk["size"] if chunk["size"] else 1.0
        on_chunk(chunk["name"], progress, bytearray(content) if complete else None)
        widget.send({"next": None if complete else len(content)})

    made = Upload(label=label, accept=accept)
    made.on_msg(receive)
    return made
