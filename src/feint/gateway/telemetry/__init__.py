"""What an operator sees of a gateway: metrics, traces, logs, an audit log and a page, all made from records."""
