"""Git: one hardened runner, and what reads and writes through it."""
