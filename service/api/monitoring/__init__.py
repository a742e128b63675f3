"""What a server shows of itself and of what is around it: metrics, experiments' metrics, the log watched, six hours' history."""
