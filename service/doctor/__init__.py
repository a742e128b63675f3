"""What ``sml doctor`` examines: settings → machine → memory → log and topics, each a :class:`~service.doctor.finding.Finding`."""
