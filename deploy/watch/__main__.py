"""Write ``deploy/metrics.md``, the dashboards and the rules for Kubernetes."""

from deploy.watch.written import ROOT, written

for path, content in written().items():
    (ROOT / path).write_text(content, encoding="utf-8")
