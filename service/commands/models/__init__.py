"""What is done with the saved states of a model, without a log: predict → explain; export, import, snapshots."""
