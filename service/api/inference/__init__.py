"""The Open Inference Protocol, version 2: body → messages → tensors → columns of features → probabilities."""
