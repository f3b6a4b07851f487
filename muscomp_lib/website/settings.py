"""The settings of the website: the options of `muscomp serve`, and the limits that keep it working for everybody."""

import os
import re

from muscomp_lib.core import parallel, settings
from muscomp_lib.core.errors import SettingError
from muscomp_lib.core.files import absolute, cache_folder
from muscomp_lib.core.settings import Field, flag, number, optional, text, whole

LOOPBACK = ("127.0.0.1", "localhost", "::1")
PASSWORD = "MUSCOMP_PASSWORD"  # environment variable: a command line can be read by everybody on a machine
HOST = re.compile(r"\*|(\*\.)?[a-z0-9._-]+|\[[0-9a-f:.]+\]")  # as browsers send it, without its port; * is any
CORES_EACH = 2  # of a worker: much of its work runs on several


class Settings(settings.Settings):
    """Where the website is, who may use it, and its limits.

    Raises
    ------
    SettingError
        Also where it could be reached from other machines, and nobody has said that it may.
    """

    host: text("an address of this machine; 0.0.0.0 for all") = Field(
        "127.0.0.1", description="The address that is listened on."
    )
    port: whole(0, 65535) = Field(8000, description="The port; 0 takes one that is free.")
    folder: optional(text("a folder"), "a folder in the user's cache") = Field(
        None, description="Where songs are kept until they are deleted. With --queue, all machines have to share it."
    )
    queue: optional(text("an address, postgresql://..."), "a file in the folder") = Field(
        None, description="A database of Postgres, for workers on several machines."
    )
    only_workers: flag() = Field(False, description="Answer no browsers: work for the site with the same --queue.")
    workers: optional(whole(1, 64), "one for two cores") = Field(
        None, description="How many songs are separated at a time, each in a process of its own."
    )
    password: optional(text(), f"${PASSWORD}, else no password") = Field(
        None, description="What browsers ask for. Any user name will do."
    )
    open: flag() = Field(False, description="Let everybody who can reach the address use it, without a password.")
    hosts: optional(text("names, separated by commas"), "this machine's own, or any where --host is not loopback") = (
        Field(None, description="The names under which the page may be opened, such as songs.example.org.")
    )
    proxies: optional(text("addresses, separated by commas"), "no proxy") = Field(
        None, description="Proxies in front of this server, whose X-Forwarded-For names the sender."
    )
    models: optional(text("names, separated by commas"), "all that `muscomp models` lists") = Field(
        None, description="The models that are offered; the first is the default."
    )
    max_megabytes: whole(1) = Field(500, description="Of a song's file: 20 minutes of 24-bit stereo at 96 kHz.")
    max_minutes: number(above=0) = Field(20.0, description="Of a song: an album in one file would hold up the rest.")
    max_waiting: whole(1) = Field(100, description="Songs in the queue: a person does not wait for hours.")
    max_each: whole(1) = Field(5, description="Songs of one sender in the queue, so that the others get their turn.")
    max_job_minutes: number(above=0) = Field(30.0, description="Of work on one song: some files never end.")
    keep_hours: number(above=0) = Field(24.0, description="After so long, everything about a song is deleted.")
    keep_free_gb: number(0) = Field(2.0, description="Disk that stays free: below it, no song is taken.")

    def model_post_init(self, _):
        """Refuse an open door that nobody has asked for, workers without work, and names that no browser sends."""
        if self.only_workers and not self.queue:
            raise SettingError("--only-workers needs --queue, the one of the site that they work for.")
        if self.host not in LOOPBACK and not (self.open or self.secret):
            raise SettingError(
                f"--host {self.host} lets other machines in. Give a password (${PASSWORD} or --password), or --open if "
                "everybody who can reach it may use it."
            )
        if wrong := [name for name in self.trusted_hosts if not HOST.fullmatch(name)]:
            raise SettingError(
                f"--hosts: {wrong[0]!r} is not the name of a machine. Give it without https:// and without a port: "
                "songs.example.org."
            )

    @property
    def secret(self):
        """The password, or None."""
        return self.password or os.environ.get(PASSWORD)

    @property
    def place(self):
        """The folder, as an absolute Path."""
        return absolute(self.folder, "--folder: ") if self.folder else cache_folder() / "site"

    @property
    def n_workers(self):
        """How many workers there are."""
        return self.workers or max(1, parallel.cores() // CORES_EACH)

    @property
    def most_songs(self):
        """How many songs may be in the queue: of all senders, and of one."""
        return self.max_waiting, self.max_each

    @property
    def trusted_hosts(self):
        """The names in `Host` that are answered: list of str."""
        if self.hosts:
            return [name.strip().lower() for name in self.hosts.split(",")]
        return ["127.0.0.1", "localhost", "[::1]"] if self.host in LOOPBACK else ["*"]
