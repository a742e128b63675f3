"""How examples become weights: restore → examples → prepare → trainer → publish, saving; the learner runs them, on ranks if asked."""
