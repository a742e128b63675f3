"""What is watched, made from the code: the metrics → the page that describes them; panels → Grafana's dashboards.

``python -m deploy.watch`` writes both; the tests hold what is committed to what it would write.
"""
