-- Deletes an account in one atomic step, with all that is stored of it.
--
-- KEYS: the accounts of its kind by evidence (sorted set); the account's version and totals (hash), tokens (sorted set)
--       and names of rows (set). Rows are lists beside the names, in the same hash slot.
-- ARGV: 1 the account's name.
-- Returns whether there was such an account.

for _, name in ipairs(redis.call('SMEMBERS', KEYS[4])) do redis.call('DEL', KEYS[4] .. ':' .. name) end
redis.call('ZREM', KEYS[1], ARGV[1])
return redis.call('DEL', KEYS[2], KEYS[3], KEYS[4]) > 0
