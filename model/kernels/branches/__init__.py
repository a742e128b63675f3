"""The branches beside the tower: what each network adds to the logit. A kernel bears the name of its definition in model.networks."""
