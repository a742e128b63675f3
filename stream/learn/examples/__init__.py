"""What is learned: the examples of the log, read by one learner or for several, and fewer of them while learning falls behind."""
