"""The networks in torch, beside their papers: build → dnn with its skip terms + a branch (dcn, deepfm, …) → logit."""
