"""Where a gateway's ledger is kept: in this process, in a SQLite file, or in Redis or Valkey for many replicas."""
