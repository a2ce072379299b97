"""The memory of everything measured: records, their store, and what they say of gates and claims."""
