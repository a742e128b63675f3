"""Who may do what: keys and tokens → callers → guard, within bounds; certificates, and the bounds of connections, are below HTTP."""
