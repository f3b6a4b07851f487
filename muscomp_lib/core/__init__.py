"""What every other package uses: errors, the root folder, instruments, caches, workers and progress."""
