"""Who may do what: keys and tokens → callers → guard, which also holds the limits; protocol and certificates are below HTTP."""
