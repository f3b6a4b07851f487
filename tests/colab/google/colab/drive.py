"""Mounting a Drive: the folder $DRIVE_STAND_IN is moved to where Colab puts the network disk, and back."""

import os
import re
from pathlib import Path


def mount(mountpoint, force_remount=False, timeout_ms=120000, readonly=False):
    """As Colab's: refuses a blank in the path, says so when a Drive is mounted already, and else mounts it."""
    if re.search(r"\s", mountpoint):
        raise ValueError("Mountpoint must not contain a space.")
    if Path(mountpoint).exists():
        print(f"Drive already mounted at {mountpoint}; to attempt to forcibly remount, call drive.mount(...).")
        return
    Path(os.environ["DRIVE_STAND_IN"]).rename(mountpoint)
    print(f"Mounted at {mountpoint}")


def flush_and_unmount(timeout_ms=24 * 60 * 60 * 1000):
    """As Colab's: when it returns, all is written and the mount is gone."""
    os.sync()
    Path("/content/drive").rename(os.environ["DRIVE_STAND_IN"])
