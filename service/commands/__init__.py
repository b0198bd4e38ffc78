"""The operator's commands: doctor, backfill, connections and participants."""
