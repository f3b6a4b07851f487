"""The website that hosts the model: `muscomp serve`. Songs go in, instruments in the mixer and their notes come out.

`site.py` runs it all: one process answers the browsers (`server.py`, on Starlette and uvicorn), and further ones do
the work (`worker.py`, which takes a song through `stages.py`). Between them are a queue (`queue.py`, on SQLite, or
`postgres.py`) and a folder per song (`songs.py`), and nothing else: either side can be killed at any moment, and the
songs go on. The page is `static/`, without a build step, with the mixer of notebook 05 in it.

Starlette and uvicorn are imported where they are used, as every other command works without them.
"""
