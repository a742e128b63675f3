"""The service over HTTP: app → routes → dependencies → served weights → predictor → answers, described to OpenAPI."""
