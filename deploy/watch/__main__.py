"""Write ``deploy/metrics.md`` and the dashboards."""

from deploy.watch.written import ROOT, written

for path, content in written().items():
    (ROOT / path).write_text(content, encoding="utf-8")
