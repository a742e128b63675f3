"""The Open Inference Protocol over gRPC: call → request of ``/v2`` → the application's answer → reply."""
