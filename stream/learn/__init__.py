"""How examples become weights: example source → trainer → learner → publisher, snapshot and checkpoint writer; recovery, rollback."""
