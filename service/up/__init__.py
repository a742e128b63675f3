"""The processes of ``sml up`` and how they end together: folder lock → children, each on a lifeline → watch."""
