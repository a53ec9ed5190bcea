"""Checkpoints on disk: ours through Orbax with a SHA-256 manifest, and other people's files."""
