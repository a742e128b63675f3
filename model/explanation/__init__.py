"""Why a model predicts what it does: contributions, the wide term alone, a probe of what goes on inside."""
