"""Several processes that serve on one port: supervisor → follower → weights in shared memory → workers → metrics of all as one."""
