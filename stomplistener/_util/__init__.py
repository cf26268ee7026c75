"""Small parts that know nothing of STOMP and of each other's users: deadlines, timers, records, masking."""
