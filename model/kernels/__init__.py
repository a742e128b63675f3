"""One example's step, compiled: table → dnn with its skip terms + branch → logit → gradients → update, on one fixed target."""
