"""What the website takes: songs an hour with one worker and with two, memory, and answers beside a large upload.

    python benchmarks/site.py

The site runs as `muscomp serve` does, and gets the same composed song again and again. Where the machine has other
work, the workers' processor time is the figure to go by. Then a day of a busier site is simulated, with songs of four
minutes and the processor time that was measured: they come at random, three times as many in the busiest hour as on
average.
"""

import argparse
import heapq
import os
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import requests
import results

from muscomp_lib.core.root import Root
from muscomp_lib.separation import songs

PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PROJECT), str(PROJECT / "tests")]
from fixtures import website  # noqa: E402

UPLOAD = 200_000_000  # bytes of the file that is sent beside the clients
CLIENTS, PAUSE = 20, 0.5  # how many ask, and seconds between their requests
PEAK = 3.0  # songs in the busiest hour, by those of an average one
DAYS = {100: (1, 2), 10_000: (80, 85, 90), 1_000_000: (8000, 8200, 8500)}  # songs a day, and workers to try
LONG_WAIT = 600.0  # seconds
SONG = 240.0  # seconds of a song on a simulated day


def main():
    """Measure, print the tables, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--songs", type=int, default=6, help="that each site gets")
    parser.add_argument("--seconds", type=float, default=30.0, help="that the clients ask for")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Root(Path(folder))
        root.songs.mkdir(parents=True)
        song = songs.compose_example(root)
        rows = [throughput(Path(folder) / f"site{n}", n, song, args.songs) for n in (1, 2)]
        answers = latency(Path(folder) / "busy", args.seconds)
    show("songs", rows)
    show("answers", answers)
    days = simulated(SONG * rows[0]["processor s a song"] / rows[0]["seconds of a song"])
    show("simulated", days)
    results.write("site", rows, args, answers=answers, simulated=days)


def show(title, rows):
    print(f"\n{title}")
    for row in rows:
        print("; ".join(f"{name} {value:.4g}" for name, value in row.items() if value is not None))


def started(folder, workers):
    return website.site(folder, "--workers", str(workers), "--max-each", "100", env=dict(os.environ))


def throughput(folder, workers, song, count):
    with started(folder, workers) as site:
        finish(site, song, workers)  # so that each worker is warm
        before, began = used(site)[0], time.monotonic()
        state, memory = finish(site, song, count)
        took, kept = time.monotonic() - began, sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        return {
            "workers": workers,
            "seconds of a song": state["facts"]["seconds"],
            "songs an hour": 3600 * count / took,
            "processor s a song": (used(site)[0] - before) / count,
            "worker MB": memory,
            "server MB": server_memory(site),
            "disk MB a song": kept / (count + workers) / 1e6,
        }


def finish(site, song, count):
    """Wait until so many songs are done: the state of the last, and the largest memory of a worker in MB."""
    memory = 0.0
    for sent in [site.send(song) for _ in range(count)]:
        while (state := sent.state())["state"] != "done":
            memory = max(memory, used(site)[1])
            time.sleep(0.2)
    return state, memory


def used(site):
    """The processor time of the workers in seconds, and the largest memory of one in MB."""
    workers = site.workers()
    times = [sum(worker.cpu_times()[:2]) for worker in workers]
    return sum(times), max(worker.memory_info().rss for worker in workers) / 1e6


def server_memory(site):
    return psutil.Process(site.process.pid).memory_info().rss / 1e6


def latency(folder, seconds):
    """How long answers take without and beside an upload."""
    with started(folder, 1) as site, ThreadPoolExecutor(CLIENTS) as pool:
        time.sleep(10)  # the worker has loaded its models
        rows = []
        for uploads in (0, 1):
            ended, began = threading.Event(), time.monotonic()
            clients = [pool.submit(ask_until, site, ended) for _ in range(CLIENTS)]
            if uploads:
                site.enter("song.wav", UPLOAD).upload(bytes(UPLOAD))
            sent_in = time.monotonic() - began
            time.sleep(max(0.0, seconds - sent_in))
            ended.set()
            times = np.concatenate([client.result() for client in clients])
            rows.append(
                {
                    "clients": CLIENTS,
                    "uploads": uploads,
                    "requests": len(times),
                    "errors": int(np.isnan(times).sum()),
                    "median ms": 1000 * np.nanmedian(times),
                    "95 % below ms": 1000 * np.nanpercentile(times, 95),
                    "slowest ms": 1000 * np.nanmax(times),
                    "upload MB a second": UPLOAD / 1e6 / sent_in if uploads else None,
                    "server MB": server_memory(site),
                }
            )
        return rows


def ask_until(site, ended):
    times = []
    while not ended.wait(PAUSE):
        began = time.monotonic()
        try:
            good = site.ask("GET", "/api/site").status_code == 200
        except requests.RequestException:
            good = False
        times.append(time.monotonic() - began if good else np.nan)
    return times


def simulated(service):
    """How long songs wait in the busiest hour, and how many longer than ten minutes, by workers."""
    rows = []
    for songs_a_day, tried in DAYS.items():
        for workers in tried:
            waits = waits_of(songs_a_day, workers, service)
            rows.append(
                {
                    "songs a day": songs_a_day,
                    "workers": workers,
                    "median wait s": float(np.median(waits)),
                    "95 % below s": float(np.percentile(waits, 95)),
                    "longer than 10 min": float((waits > LONG_WAIT).mean()),
                }
            )
    return rows


def waits_of(songs_a_day, workers, service, seed=0):
    """Waiting times in the last hour of three of which each is as busy as the busiest: those before fill the queue."""
    draw = np.random.default_rng(seed)
    rate = PEAK * songs_a_day / 86400  # songs a second
    arrivals = np.cumsum(draw.exponential(1 / rate, int(3 * 3600 * rate) + 50))
    times = service * draw.lognormal(-0.5 * 0.5**2, 0.5, len(arrivals))  # songs differ in length
    free, waits = [0.0] * workers, []
    for arrival, lasts in zip(arrivals, times, strict=True):
        begins = max(arrival, heapq.heappop(free))
        heapq.heappush(free, begins + lasts)
        waits.append(begins - arrival)
    return np.array(waits)[len(waits) * 2 // 3 :]


if __name__ == "__main__":
    main()
