"""Beyond one machine: what runs on several processes, and what it gives."""
