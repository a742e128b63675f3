"""Where a learner begins: recovery, from runs or a checkpoint; a change of settings; another arm's weights; imported ones; a rollback."""
