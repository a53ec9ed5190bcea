"""The step (pure), the loop (short) and the hooks (everything else)."""
