"""The step of one example, compiled for one fixed target: table → dnn with its skip terms + branch → logit → gradients → update."""
