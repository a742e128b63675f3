"""The service over HTTP: app → routes → dependencies → served weights → predictor → answers; openapi describes it."""
